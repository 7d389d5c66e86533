/** The openings that this process has put into nftables. A set is always written whole, so every change needs all of them. */

import type { AddressOpenings } from "../../grants.ts";
import { formatNetwork, type Network } from "../../values/network.ts";
import type { Opening } from "../../values/openings.ts";
import { setOf } from "./sets.ts";

interface Held {
  readonly address: Network;
  readonly openings: readonly (Omit<Opening, "timeoutMs"> & {
    /** Steady clock of this process. */
    readonly endsMs: number;
  })[];
}

/** The openings of one table; times are of a steady clock, ms. */
export class HeldOpenings {
  readonly #held = new Map<string, Held>();

  /** From now on each of these addresses has these openings. Gives the sets that change by it. */
  hold(changes: readonly AddressOpenings[], nowMs: number): Set<string> {
    const sets = new Set<string>();
    for (const { address, openings } of changes) {
      const text = formatNetwork(address);
      for (const each of this.#held.get(text)?.openings ?? []) sets.add(setOf(address, each));
      for (const each of openings) sets.add(setOf(address, each));
      const dated = openings.map(({ timeoutMs, ...ports }) => ({
        ...ports,
        endsMs: nowMs + timeoutMs,
      }));
      if (dated.length === 0) this.#held.delete(text);
      else this.#held.set(text, { address, openings: dated });
    }
    return sets;
  }

  /** The table is made anew with these openings alone. */
  replace(openings: readonly AddressOpenings[], nowMs: number): void {
    this.#held.clear();
    this.hold(openings, nowMs);
  }

  /** All that is open now, with the time left. Forgets openings that have ended. */
  live(nowMs: number): AddressOpenings[] {
    return [...this.#held].flatMap(([text, { address, openings }]) => {
      const left = openings.filter(({ endsMs }) => endsMs > nowMs)
        .map(({ endsMs, ...ports }) => ({ ...ports, timeoutMs: endsMs - nowMs }));
      if (left.length > 0) return [{ address, openings: left }];
      this.#held.delete(text);
      return [];
    });
  }
}
