/** The hosts of a fleet, as one of them hears of them. Pure; bounded. */

import type { Alive, Entry } from "./entry.ts";

/** How often a host says that it is there, and after what time of silence it counts as gone. */
export const ALIVE_MS = 10_000;
const FORGOTTEN_MS = 10 * ALIVE_MS;
const MOST_HOSTS = 1024;

/** A host that was heard. */
export interface HeardHost extends Alive {
  readonly host: string;
  /** Of its process: a host that was restarted has another one. */
  readonly claimant: string;
  /** How far its clock is ahead of this host's, ms; the time that its entry took is in it. */
  readonly aheadMs: number;
  readonly heardAtMs: number;
}

/** Who was heard of late. */
export class HeardHosts {
  readonly #byName = new Map<string, HeardHost>();

  /** A host has said that it is there. All times ms since 1970. */
  heard({ host, claimant, atMs, alive }: Entry & { alive: Alive }, nowMs: number): void {
    this.#byName.delete(host);
    this.#byName.set(host, { ...alive, host, claimant, aheadMs: atMs - nowMs, heardAtMs: nowMs });
    for (const { host, heardAtMs } of this.#byName.values()) {
      const isOver = this.#byName.size > MOST_HOSTS || nowMs - heardAtMs > FORGOTTEN_MS;
      if (!isOver) break; // the longest unheard come first
      this.#byName.delete(host);
    }
  }

  list(nowMs: number): HeardHost[] {
    return [...this.#byName.values()].filter(({ heardAtMs }) => nowMs - heardAtMs <= FORGOTTEN_MS)
      .sort((a, b) => a.host.localeCompare(b.host));
  }

  /** Those that are to answer: heard twice in the time that they have. */
  present(nowMs: number): string[] {
    return this.list(nowMs).filter(({ heardAtMs }) => nowMs - heardAtMs <= 2.5 * ALIVE_MS)
      .map(({ host }) => host);
  }
}
