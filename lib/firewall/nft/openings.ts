/** The openings that this process has put into nftables: a set that is written whole needs all of them. */

import type { AddressOpenings } from "../../grants.ts";
import { formatNetwork } from "../../values/network.ts";
import type { OpeningsChange } from "../backend.ts";
import { setOf } from "./sets.ts";

interface Held extends AddressOpenings {
  /** Steady clock of this process: when the time of its openings began. */
  readonly sinceMs: number;
}

/** The sets that change, and what changes in them; all of them where that is not known. */
export interface SetsChange {
  readonly sets: ReadonlySet<string>;
  readonly change?: OpeningsChange | undefined;
}

/** The openings of one table; times are of a steady clock, ms. */
export class HeldOpenings {
  readonly #held = new Map<string, Held>();

  /** From now on each of these addresses has these openings. */
  hold(after: readonly AddressOpenings[], sinceMs: number): SetsChange {
    const before: AddressOpenings[] = [];
    for (const { address, openings } of after) {
      const text = formatNetwork(address);
      const held = this.#held.get(text);
      if (held) before.push(held);
      if (openings.length === 0) this.#held.delete(text);
      else this.#held.set(text, { address, openings, sinceMs });
    }
    const sets = [...before, ...after].flatMap(({ address, openings }) =>
      openings.map((each) => setOf(address, each))
    );
    return { sets: new Set(sets), change: { before, after } };
  }

  /** All that is open now, with the time left. Forgets openings that have ended. */
  live(nowMs: number): AddressOpenings[] {
    return [...this.#held].flatMap(([text, { address, openings, sinceMs }]) => {
      const left = openings
        .map((each) => ({ ...each, timeoutMs: each.timeoutMs - (nowMs - sinceMs) }))
        .filter(({ timeoutMs }) => timeoutMs > 0);
      if (left.length > 0) return [{ address, openings: left }];
      this.#held.delete(text);
      return [];
    });
  }
}
