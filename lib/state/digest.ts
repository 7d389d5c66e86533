/**
 * A digest over rows, whatever their order: what a database holds can be held against it, and a row that was changed,
 * taken out or put in shows. It is kept up with every change for the price of the row that changes. Against a disk that
 * errs, not against somebody who writes there: who can do that can do anything.
 */

import { bytesToHex } from "../crypto/keys.ts";

/** A value as SQLite takes it and gives it back. */
export type Value = string | number | bigint | Uint8Array | null;

/** The sum, modulo 2^32 in two lanes, of the hashes of all rows. */
export class Digest {
  #low = 0;
  #high = 0;

  add(row: string): void {
    const [low, high] = hashOf(row);
    this.#low = (this.#low + low) >>> 0;
    this.#high = (this.#high + high) >>> 0;
  }

  remove(row: string): void {
    const [low, high] = hashOf(row);
    this.#low = (this.#low - low) >>> 0;
    this.#high = (this.#high - high) >>> 0;
  }

  /** 16 hex digits. */
  toString(): string {
    return [this.#high, this.#low].map((lane) => lane.toString(16).padStart(8, "0")).join("");
  }
}

/** A row as text, no two different rows alike. */
export function rowText(table: string, values: readonly unknown[]): string {
  let text = table;
  for (const value of values) {
    // What a damaged file hands back may be of any type; it only has to differ from what was written.
    text += "\0" + (value instanceof Uint8Array ? bytesToHex(value) : String(value));
  }
  return text;
}

/** 64 bits: two lanes of multiply and add, mixed at the end as MurmurHash3 does. Any one character changes both. */
function hashOf(text: string): [low: number, high: number] {
  let low = 0x9747b28c;
  let high = 0x1b873593;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    low = Math.imul(low ^ unit, 0x9e3779b1);
    high = Math.imul(high ^ unit, 0x5f356495);
  }
  low = Math.imul(low ^ (low >>> 16) ^ high, 0x85ebca6b);
  high = Math.imul(high ^ (high >>> 13) ^ low, 0xc2b2ae35);
  return [(low ^ (low >>> 13) ^ (high >>> 16)) >>> 0, (high ^ (high >>> 16)) >>> 0];
}
