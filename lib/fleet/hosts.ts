/** The hosts of a fleet, as one of them hears of them. Pure; bounded. */

import { type Moment, wallMsOf } from "../values/moment.ts";
import type { Alive, Entry } from "./entry.ts";

/** How often a host says that it is there, and after what time of silence it counts as gone. */
export const ALIVE_MS = 10_000;
const GONE_MS = 10 * ALIVE_MS;
const MOST_HOSTS = 1024;

/** A host that was heard. */
export interface HeardHost extends Alive {
  readonly host: string;
  /** Of its process: a host that was restarted has another one, and two hosts may have one name. */
  readonly claimant: string;
  /** How far its clock is ahead of this host's, ms; the time that its entry took is in it. */
  readonly aheadMs: number;
  /** On the steady clock of this host. */
  readonly heardSteadyMs: number;
}

/** Who was heard of late, the longest unheard first. */
export class HeardHosts {
  readonly #byClaimant = new Map<string, HeardHost>();

  /** A host has said that it is there. */
  heard({ host, claimant, atMs, alive }: Entry & { alive: Alive }, now: Moment): void {
    this.#byClaimant.delete(claimant);
    const heard = { aheadMs: atMs - wallMsOf(now), heardSteadyMs: now.steadyMs };
    this.#byClaimant.set(claimant, { ...alive, host, claimant, ...heard });
    for (const each of this.#byClaimant.values()) {
      if (now.steadyMs - each.heardSteadyMs <= GONE_MS && this.#byClaimant.size <= MOST_HOSTS) {
        break;
      }
      this.#byClaimant.delete(each.claimant);
    }
  }

  /** Without those that have gone, and without the former process of a host that was restarted. */
  list({ steadyMs }: Moment): HeardHost[] {
    const latest = new Map([...this.#byClaimant.values()].map((each) => [each.host, each]));
    return [...this.#byClaimant.values()].filter((each) => {
      const silentMs = steadyMs - each.heardSteadyMs;
      const isFormer = latest.get(each.host) !== each && silentMs > 1.5 * ALIVE_MS;
      return silentMs <= GONE_MS && !isFormer;
    }).sort((a, b) => a.host.localeCompare(b.host));
  }
}
