/**
 * Whose signature is it? A knock does not say who sent it, so keys are tried: in an order that finds the right one first
 * however many clients there are. docs/protocol.md, "Whose signature".
 */

import type { Candidates, GateClient } from "../gate.ts";
import { type Address, formatAddress } from "../values/address.ts";
import { hexToBytes } from "../crypto/keys.ts";
import { fingerprintBytes } from "../crypto/sync.ts";
import { hintOf, RANDOM_NONCE_SIZE } from "../packet.ts";

/** Keys that are tried whatever the budget says: seen from this source, and the last used. */
export const FREE_CANDIDATES = 3;

const SOURCES_REMEMBERED = 4096;
const CLIENTS_PER_SOURCE = 4;
const RECENT_REMEMBERED = 256;

/** Whom the last knocks were accepted from: keys only, so that it outlives a change of the configuration. */
interface Recency {
  /** By source address, the longest unused first; the keys of each, the newest first. */
  readonly bySource: Map<string, string[]>;
  /** The newest first. */
  readonly all: string[];
}

/** The registered clients, in the order in which their keys are worth trying. */
export class Signers implements Candidates {
  readonly #clients: readonly GateClient[];
  readonly #byKey: ReadonlyMap<string, GateClient>;
  readonly #byHint = new Map<number, GateClient[]>();
  readonly #recency: Recency;

  /** `before`: what was in force until now, whose memory of accepted knocks goes on. */
  constructor(clients: readonly GateClient[], before?: Signers) {
    this.#clients = clients;
    this.#byKey = new Map(clients.map((client) => [client.key, client]));
    this.#recency = before ? before.#recency : { bySource: new Map(), all: [] };
    for (const client of clients) {
      const hint = hintOfKey(client.key);
      const same = this.#byHint.get(hint);
      if (same) same.push(client);
      else this.#byHint.set(hint, [client]);
    }
  }

  /** How much is remembered of accepted knocks; both are bounded. */
  remembered(): { sources: number; clients: number } {
    return { sources: this.#recency.bySource.size, clients: this.#recency.all.length };
  }

  /** Those whom the hint in a random nonce names: one, or by chance a few. In a tagged knock there always is one. */
  hinted(randomNonce: Uint8Array): readonly GateClient[] {
    return this.#byHint.get(hintOf(randomNonce)) ?? [];
  }

  /**
   * Every client once: those that the hint names, those last accepted from this source, the last accepted ones from
   * anywhere, the rest.
   */
  *candidates(randomNonce: Uint8Array, source: Address): Generator<GateClient, undefined> {
    const hinted = this.hinted(randomNonce);
    const { bySource, all } = this.#recency;
    // Copies: another knock may be accepted between two steps of this search.
    const recent = [...bySource.get(formatAddress(source)) ?? [], ...all];
    const tried = new Set<GateClient>();
    for (const client of hinted) {
      tried.add(client);
      yield client;
    }
    for (const key of recent) {
      const client = this.#byKey.get(key);
      if (!client || tried.has(client)) continue;
      tried.add(client);
      yield client;
    }
    for (const client of this.#clients) if (!tried.has(client)) yield client;
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

/** What the knocks of the client with this key bear as a hint, as {@linkcode hintOf} reads it. */
function hintOfKey(key: string): number {
  // A key in tests may be any name; a registered one is 64 hex digits.
  if (!/^[0-9a-f]{64}$/.test(key)) return -1;
  const nonce = new Uint8Array(RANDOM_NONCE_SIZE);
  nonce.set(fingerprintBytes(hexToBytes(key)).subarray(0, 4), RANDOM_NONCE_SIZE - 4);
  return hintOf(nonce);
}
