/**
 * What stands in the sets of the nftables backend, as far as this process put it there: what has to go before something
 * else comes, and which networks were knocked for anew.
 */

import type { AddressOpenings, Knocks } from "../grants.ts";
import { formatNetwork, isSingle, type Network } from "../network.ts";
import type { PortRange } from "../ports.ts";
import { MOST_NOTE_MS } from "./nft_prefixes.ts";

/** How long after its end an element is still reckoned with. */
const HELD_SLACK_MS = 60_000;

/** What stands for one address or network, or stood until it ended. */
interface Held {
  readonly ranges: readonly PortRange[];
  readonly knocks: Knocks | undefined;
  /** Steady clock of this process: until when that matters. */
  readonly untilMs: number;
}

/** The memory of one table; times are of a steady clock, ms. */
export class HeldOpenings {
  readonly #held = new Map<string, Held>();
  /** Networks that were open, and until when somebody may be noted there. */
  readonly #notedUntilMs = new Map<string, number>();

  /** What stands for this address or network. */
  rangesOf(address: Network): readonly PortRange[] {
    return this.#held.get(formatNetwork(address))?.ranges ?? [];
  }

  /** These openings stand now, in place of what was there. */
  hold({ address, openings, knocks }: AddressOpenings, nowMs: number): void {
    const text = formatNetwork(address);
    if (openings.length === 0) return void this.#held.delete(text);
    const untilMs = nowMs + Math.max(...openings.map(({ timeoutMs }) => timeoutMs)) + HELD_SLACK_MS;
    this.#held.set(text, { ranges: openings, knocks, untilMs });
    if (!isSingle(address)) this.#notedUntilMs.set(text, untilMs + MOST_NOTE_MS);
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

  /** The table was made anew. */
  clear(): void {
    this.#held.clear();
    this.#notedUntilMs.clear();
  }

  forgetEnded(nowMs: number): void {
    for (const [text, { untilMs }] of this.#held) if (untilMs < nowMs) this.#held.delete(text);
    for (const [text, untilMs] of this.#notedUntilMs) {
      if (untilMs < nowMs) this.#notedUntilMs.delete(text);
    }
  }
}
