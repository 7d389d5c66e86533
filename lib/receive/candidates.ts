/**
 * The order in which clients' keys are tried on a signature: the right one comes first, however many clients there are.
 * docs/protocol.md, "Whose signature".
 */

import type { Candidates, GateClient } from "../gate.ts";
import { type Address, formatAddress } from "../values/address.ts";
import { clientHintOf } from "../packet.ts";

/** Keys that are tried at once, before verification is deferred. */
export const FREE_CANDIDATES = 3;

const SOURCES_REMEMBERED = 4096;
const CLIENTS_PER_SOURCE = 4;
const RECENT_REMEMBERED = 256;

/** Whose knocks were accepted last: keys only, so that it outlives a change of the configuration. */
interface Recency {
  /** By source address, the longest unused first; the keys of each, the newest first. */
  readonly bySource: Map<string, string[]>;
  /** The newest first. */
  readonly all: string[];
}

/** The registered clients' keys, in the order of the configuration, and by their hints. */
export interface KeyIndex {
  readonly byKey: ReadonlyMap<string, GateClient>;
  readonly byHint: ReadonlyMap<number, readonly GateClient[]>;
}

/** The registered clients, ranked anew for each knock. */
export class RankedCandidates implements Candidates {
  readonly #keys: KeyIndex;
  readonly #recency: Recency;

  /** `before`: the ranking of the former configuration, whose memory of accepted knocks goes on. */
  constructor(keys: KeyIndex, before?: RankedCandidates) {
    this.#keys = keys;
    this.#recency = before ? before.#recency : { bySource: new Map(), all: [] };
  }

  /** How much is remembered of accepted knocks; both are bounded. */
  remembered(): { sources: number; clients: number } {
    return { sources: this.#recency.bySource.size, clients: this.#recency.all.length };
  }

  hinted(randomNonce: Uint8Array): readonly GateClient[] {
    return this.#keys.byHint.get(clientHintOf(randomNonce)) ?? [];
  }

  /** Every client once: those of the hint, those last accepted from this source, those last accepted, the rest. */
  *inOrder(randomNonce: Uint8Array, source: Address): Generator<GateClient, undefined> {
    const { bySource, all } = this.#recency;
    // A copy: another knock may be accepted between two steps of this search.
    const recent = [...bySource.get(formatAddress(source)) ?? [], ...all]
      .flatMap((key) => this.#keys.byKey.get(key) ?? []);
    const first = new Set([...this.hinted(randomNonce), ...recent]);
    yield* first;
    for (const client of this.#keys.byKey.values()) if (!first.has(client)) yield client;
  }

  accepted(key: string, source: Address): void {
    const { bySource, all } = this.#recency;
    const text = formatAddress(source);
    const keys = [key, ...(bySource.get(text) ?? []).filter((each) => each !== key)];
    bySource.delete(text);
    bySource.set(text, keys.slice(0, CLIENTS_PER_SOURCE));
    if (bySource.size > SOURCES_REMEMBERED) bySource.delete(bySource.keys().next().value!);
    const place = all.indexOf(key);
    if (place >= 0) all.splice(place, 1);
    all.unshift(key);
    if (all.length > RECENT_REMEMBERED) all.pop();
  }
}
