/**
 * The latest knocks for each grant, by their ids, and whether the firewall has each: the health port tells it, so that a
 * client knows its own knock from those of others behind its address. docs/protocol.md, "The health port".
 */

import type { KnockState, RecentKnock } from "../values/health_report.ts";
import type { Bytes } from "../crypto/keys.ts";
import { knockIdOf } from "../crypto/sync.ts";
import type { Grant } from "../grants.ts";
import { formatNetwork } from "../values/network.ts";

/** Knocks that are kept of one grant. */
const MOST_KNOCKS = 16;
/** Grants of which knocks are kept; the one that was knocked for least recently goes first. */
const MOST_GRANTS = 4096;

/** Bounded in knocks and grants; lost when the process ends, since a client asks within seconds. */
export class RecentKnocks {
  readonly #byGrant = new Map<string, RecentKnock[]>();
  readonly #refused = new Set<string>();

  /** A knock was accepted. Returns its id, for {@linkcode settle}. */
  accept(grant: Grant, randomNonce: Uint8Array): string {
    const id = knockIdOf(randomNonce as Bytes);
    const name = nameOf(grant);
    const knocks = this.#byGrant.get(name) ?? [];
    this.#byGrant.delete(name); // to the end of the map's order
    this.#byGrant.set(name, [...knocks, { id, state: "pending" as const }].slice(-MOST_KNOCKS));
    if (this.#byGrant.size > MOST_GRANTS) {
      this.#byGrant.delete(this.#byGrant.keys().next().value!);
    }
    return id;
  }

  /** The firewall has it, or refused it. */
  settle(grant: Grant, id: string, state: KnockState): void {
    const name = nameOf(grant);
    if (state === "refused") this.#refused.add(name);
    else this.#refused.delete(name);
    const knocks = this.#byGrant.get(name);
    if (!knocks) return;
    this.#byGrant.set(name, knocks.map((each) => each.id === id ? { id, state } : each));
  }

  /** Whether the firewall has refused this grant so far. */
  isRefused(grant: Grant): boolean {
    return this.#refused.size > 0 && this.#refused.has(nameOf(grant));
  }

  /** The knocks for this grant, the oldest first. */
  of(grant: Grant): readonly RecentKnock[] {
    return this.#byGrant.get(nameOf(grant)) ?? [];
  }
}

/** A renewed grant is another object, and a client may get another name: its key and address stay. */
function nameOf({ key, address }: Grant): string {
  return `${key} ${formatNetwork(address)}`;
}
