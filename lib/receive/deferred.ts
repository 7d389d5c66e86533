/**
 * Knocks whose client was not among the first to be tried: docs/protocol.md, "Whose signature". Each gets a few
 * signatures checked in its turn, and sources take turns, so that no knock waits for the end of another's search; one at
 * a time under an ephemeral key.
 */

import type { Address } from "../values/address.ts";
import type { UnsignedKnock } from "../gate.ts";
import { blockOf } from "./queue.ts";
import { nameOf } from "./ephemeral_keys.ts";
import { OFFSET_AEAD_NONCE, OFFSET_EPHEMERAL_KEY } from "../packet.ts";

const CAPACITY = 256;
const PER_SOURCE = 64;

/** A knock that waits for its client to be found. */
export interface Search {
  /** Its own copy. */
  readonly datagram: Uint8Array;
  readonly source: Address;
  readonly knock: UnsignedKnock;
}

/** The searches under way. */
export class Searches {
  /** By source, in the order of their turns. */
  readonly #lanes = new Map<string, Search[]>();
  readonly #keys = new Set<string>();

  get size(): number {
    return this.#keys.size;
  }

  /** Takes a search in; false where there is no room for it, or one under its ephemeral key is under way. */
  add(search: Search): boolean {
    const key = keyOf(search);
    const block = blockOf(search.source);
    const lane = this.#lanes.get(block) ?? [];
    if (this.size >= CAPACITY || lane.length >= PER_SOURCE || this.#keys.has(key)) return false;
    lane.push(search);
    this.#lanes.set(block, lane);
    this.#keys.add(key);
    return true;
  }

  /**
   * The search whose turn it is; its next turn comes after those of all other sources, and of its own source's others.
   * One that `isLate` says cannot open anything any more is served when no other waits: a clock that is off is to be told.
   */
  next(isLate: (search: Search) => boolean): Search | undefined {
    let late: Search | undefined;
    for (const lane of this.#lanes.values()) {
      const index = lane.findIndex((each) => !isLate(each));
      if (index >= 0) return this.#served(lane, index);
      late ??= lane[0];
    }
    return late && this.#served(this.#lanes.get(blockOf(late.source))!, 0);
  }

  /** A search has come to its end. */
  remove(search: Search): void {
    const block = blockOf(search.source);
    const lane = this.#lanes.get(block) ?? [];
    const index = lane.lastIndexOf(search);
    if (index < 0) return;
    lane.splice(index, 1);
    if (lane.length === 0) this.#lanes.delete(block);
    this.#keys.delete(keyOf(search));
  }

  /** Removes and returns all. */
  takeAll(): readonly Search[] {
    const all = [...this.#lanes.values()].flat();
    this.#lanes.clear();
    this.#keys.clear();
    return all;
  }

  #served(lane: Search[], index: number): Search {
    const [search] = lane.splice(index, 1) as [Search];
    lane.push(search);
    const block = blockOf(search.source);
    this.#lanes.delete(block);
    this.#lanes.set(block, lane);
    return search;
  }
}

function keyOf({ datagram }: Search): string {
  return nameOf(datagram.subarray(OFFSET_EPHEMERAL_KEY, OFFSET_AEAD_NONCE));
}
