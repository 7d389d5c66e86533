/** The hosts of a fleet, as one of them hears of them. Pure; bounded. */

import type { Alive, Entry } from "./entry.ts";

/** How often a host says that it is there, and after what time of silence it counts as gone. */
export const ALIVE_MS = 10_000;
const GONE_MS = 2.5 * ALIVE_MS;
const FORGOTTEN_MS = 10 * ALIVE_MS;
const MOST_HOSTS = 1024;

/** A host that was heard. */
export interface HeardHost extends Alive {
  readonly host: string;
  /** Of its process: a host that was restarted has another one, and two hosts may have one name. */
  readonly claimant: string;
  /** How far its clock is ahead of this host's, ms; the time that its entry took is in it. */
  readonly aheadMs: number;
  readonly heardAtMs: number;
}

/** Who was heard of late, the longest unheard first. */
export class HeardHosts {
  readonly #byClaimant = new Map<string, HeardHost>();

  /** A host has said that it is there. All times ms since 1970. */
  heard({ host, claimant, atMs, alive }: Entry & { alive: Alive }, nowMs: number): void {
    const isNew = !this.#byClaimant.delete(claimant);
    const aheadMs = atMs - nowMs;
    this.#byClaimant.set(claimant, { ...alive, host, claimant, aheadMs, heardAtMs: nowMs });
    if (!isNew) return;
    for (const each of this.#byClaimant.values()) {
      const silentMs = nowMs - each.heardAtMs;
      const isFormer = each.host === host && silentMs > 1.5 * ALIVE_MS;
      if (isFormer || silentMs > FORGOTTEN_MS || this.#byClaimant.size > MOST_HOSTS) {
        this.#byClaimant.delete(each.claimant);
      }
    }
  }

  list(nowMs: number): HeardHost[] {
    return [...this.#byClaimant.values()]
      .filter(({ heardAtMs }) => nowMs - heardAtMs <= FORGOTTEN_MS)
      .sort((a, b) => a.host.localeCompare(b.host));
  }

  /** Those that are to answer. */
  present(nowMs: number): HeardHost[] {
    return this.list(nowMs).filter(({ heardAtMs }) => nowMs - heardAtMs <= GONE_MS);
  }
}
