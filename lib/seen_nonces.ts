/**
 * The nonces of one client, the oldest timestamp first: some 90 bytes each, since there may be a million of all clients
 * together.
 */

import { bytesToHex } from "./crypto.ts";

const SMALLEST = 4;

/** Nonces, each with the timestamp of its knock, in ns since 1970. */
export class SeenNonces {
  /** A character a byte: half of what hex digits take. */
  #names: string[] = [];
  /** As many as there are names, and room for more. */
  #times = new BigInt64Array(SMALLEST);
  readonly #known = new Set<string>();

  get size(): number {
    return this.#names.length;
  }

  /** The oldest timestamp, if there is any. */
  get oldestNs(): bigint | undefined {
    return this.size === 0 ? undefined : this.#times[0];
  }

  has(nonce: Uint8Array): boolean {
    return this.#known.has(nameOf(nonce));
  }

  /** Adds a nonce that is not there yet. */
  add(nonce: Uint8Array, timestampNs: bigint): void {
    const name = nameOf(nonce);
    const { size } = this;
    if (size === this.#times.length) {
      const larger = new BigInt64Array(size * 2);
      larger.set(this.#times);
      this.#times = larger;
    }
    // Knocks come nearly in the order of their timestamps, so the place is nearly always the end.
    let place = size;
    while (place > 0 && this.#times[place - 1]! > timestampNs) place--;
    if (place < size) {
      this.#times.copyWithin(place + 1, place, size);
      this.#names.splice(place, 0, name);
    } else this.#names.push(name);
    this.#times[place] = timestampNs;
    this.#known.add(name);
  }

  /** Forgets every nonce dated at or before the given time. */
  forgetThrough(timestampNs: bigint): void {
    const { size } = this;
    let count = 0;
    while (count < size && this.#times[count]! <= timestampNs) count++;
    if (count === 0) return;
    for (const name of this.#names.splice(0, count)) this.#known.delete(name);
    this.#times.copyWithin(0, count, size);
    if (this.size < this.#times.length / 4) {
      this.#times = this.#times.slice(0, Math.max(SMALLEST, this.size));
    }
  }

  /** The newest timestamp before the given time, if there is any. */
  newestBefore(timestampNs: bigint): bigint | undefined {
    let newest: bigint | undefined;
    for (let i = 0; i < this.size && this.#times[i]! < timestampNs; i++) newest = this.#times[i];
    return newest;
  }

  /** All of them: `[nonce in hex, timestamp]`. */
  *entries(): Generator<[nonce: string, timestampNs: bigint]> {
    for (const [i, name] of this.#names.entries()) {
      yield [bytesToHex(Uint8Array.from(name, (char) => char.charCodeAt(0))), this.#times[i]!];
    }
  }
}

function nameOf(nonce: Uint8Array): string {
  return String.fromCharCode(...nonce);
}
