/**
 * The order in which clients' keys are tried on a signature: the right one comes first, however many clients there are.
 * docs/protocol.md, "Whose signature".
 */

import type { Candidates, GateClient } from "../gate.ts";
import { type Address, formatAddress } from "../values/address.ts";
import { hexToBytes } from "../crypto/keys.ts";
import { fingerprintBytes } from "../crypto/sync.ts";
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

/** The registered clients, ranked anew for each knock. */
export class RankedCandidates implements Candidates {
  readonly #clients: readonly GateClient[];
  readonly #byKey: ReadonlyMap<string, GateClient>;
  readonly #byHint = new Map<number, GateClient[]>();
  readonly #recency: Recency;

  /** `before`: the ranking of the former configuration, whose memory of accepted knocks goes on. */
  constructor(clients: readonly GateClient[], before?: RankedCandidates) {
    this.#clients = clients;
    this.#byKey = new Map(clients.map((client) => [client.key, client]));
    this.#recency = before ? before.#recency : { bySource: new Map(), all: [] };
    for (const client of clients) {
      const hint = clientHintOfKey(client.key);
      const same = this.#byHint.get(hint);
      if (same) same.push(client);
      else this.#byHint.set(hint, [client]);
    }
  }

  /** How much is remembered of accepted knocks; both are bounded. */
  remembered(): { sources: number; clients: number } {
    return { sources: this.#recency.bySource.size, clients: this.#recency.all.length };
  }

  /** The clients that the hint in a random nonce names: one, or by chance a few. */
  hinted(randomNonce: Uint8Array): readonly GateClient[] {
    return this.#byHint.get(clientHintOf(randomNonce)) ?? [];
  }

  /** Every client once: those of the hint, those last accepted from this source, those last accepted, the rest. */
  *inOrder(randomNonce: Uint8Array, source: Address): Generator<GateClient, undefined> {
    const { bySource, all } = this.#recency;
    // A copy: another knock may be accepted between two steps of this search.
    const recent = [...bySource.get(formatAddress(source)) ?? [], ...all]
      .flatMap((key) => this.#byKey.get(key) ?? []);
    const first = new Set([...this.hinted(randomNonce), ...recent]);
    yield* first;
    for (const client of this.#clients) if (!first.has(client)) yield client;
  }

  /** Remembers that a knock of this client was accepted from there. Only for knocks that passed every check. */
  accepted({ key }: GateClient, source: Address): void {
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

/** The hint in the knocks of the client with this key, as {@linkcode clientHintOf} reads it. */
function clientHintOfKey(key: string): number {
  // A key in tests may be any name; a registered one is 64 hex digits.
  if (!/^[0-9a-f]{64}$/.test(key)) return -1;
  const { buffer, byteOffset } = fingerprintBytes(hexToBytes(key));
  return new DataView(buffer, byteOffset).getUint32(0);
}
