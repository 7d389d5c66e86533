/**
 * What the sets of the nftables backend are to hold, as far as this process opened it: every change of a set writes all
 * of its openings, each with the time that it has left. And which networks were knocked for anew.
 */

import type { AddressOpenings, Knocks } from "../../grants.ts";
import { formatNetwork, isSingle, type Network } from "../../values/network.ts";
import type { PortRange } from "../../values/ports.ts";
import { MOST_NOTE_MS } from "./prefix_rules.ts";
import { setOf } from "./sets.ts";

/** How long after its end a network is still reckoned with: the kernel's end may come a little later than ours. */
const NOTED_SLACK_MS = 60_000;

interface Held {
  readonly address: Network;
  readonly openings: readonly (PortRange & {
    /** Steady clock of this process. */
    readonly endsMs: number;
  })[];
  readonly knocks: Knocks | undefined;
}

/** The memory of one table; times are of a steady clock, ms. */
export class HeldOpenings {
  readonly #held = new Map<string, Held>();
  /** Networks that were open, and until when somebody may be noted there. */
  readonly #notedUntilMs = new Map<string, number>();

  /** These openings are held from now on, in place of what was there. Gives the sets that change by it. */
  hold(changes: readonly AddressOpenings[], nowMs: number): Set<string> {
    const sets = new Set<string>();
    for (const { address, openings, knocks } of changes) {
      const text = formatNetwork(address);
      for (const each of this.#held.get(text)?.openings ?? []) sets.add(setOf(address, each));
      for (const each of openings) sets.add(setOf(address, each));
      if (openings.length === 0) {
        this.#held.delete(text);
        continue;
      }
      const dated = openings.map(({ timeoutMs, ...range }) => ({
        ...range,
        endsMs: nowMs + timeoutMs,
      }));
      this.#held.set(text, { address, openings: dated, knocks });
      if (isSingle(address)) continue;
      const endsMs = Math.max(...dated.map((each) => each.endsMs));
      this.#notedUntilMs.set(text, endsMs + NOTED_SLACK_MS + MOST_NOTE_MS);
    }
    return sets;
  }

  /** The table is made anew with these openings alone. */
  replace(openings: readonly AddressOpenings[], nowMs: number): void {
    this.#held.clear();
    this.#notedUntilMs.clear();
    this.hold(openings, nowMs);
  }

  /** All that is open now, with the time that is left. */
  openings(nowMs: number): AddressOpenings[] {
    return [...this.#held.values()].flatMap(({ address, openings }) => {
      const left = openings.filter(({ endsMs }) => endsMs > nowMs)
        .map(({ endsMs, ...range }) => ({ ...range, timeoutMs: endsMs - nowMs }));
      return left.length === 0 ? [] : [{ address, openings: left }];
    });
  }

  /** Whether this opens a network that was closed before: then nobody may be noted there. */
  opensAnew({ address, openings, knocks }: AddressOpenings): boolean {
    const held = this.#held.get(formatNetwork(address));
    return !isSingle(address) && openings.length > 0 &&
      (!held || held.knocks?.first !== knocks?.first);
  }

  /** Whether somebody has knocked for this network since: then one more address may claim it. */
  isKnockedAnew(change: AddressOpenings): boolean {
    const held = this.#held.get(formatNetwork(change.address));
    return this.opensAnew(change) ||
      !isSingle(change.address) && change.openings.length > 0 &&
        held?.knocks?.latest !== change.knocks?.latest;
  }

  /** Whether somebody may be noted in this network. */
  mayBeNoted(network: Network): boolean {
    return this.#notedUntilMs.has(formatNetwork(network));
  }

  forgetEnded(nowMs: number): void {
    for (const [text, { openings }] of this.#held) {
      if (openings.every(({ endsMs }) => endsMs < nowMs)) this.#held.delete(text);
    }
    for (const [text, untilMs] of this.#notedUntilMs) {
      if (untilMs < nowMs) this.#notedUntilMs.delete(text);
    }
  }
}
