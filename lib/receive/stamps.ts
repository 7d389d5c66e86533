/**
 * The stamps that knocks of openme's own clients bear at this time: docs/protocol.md, "What openme's own client adds".
 * The firewall gets those of the next minutes ahead, so that it is told of new ones seldom.
 */

import { STAMP_WINDOW_S, stampWindowOf } from "../crypto/keys.ts";
import type { KnockStamps } from "../crypto/keys.ts";
import { knockStamps, publicKeyOf } from "../crypto/sync.ts";
import type { ServerConfig } from "../config/server.ts";
import type { KnockStamp } from "../firewall/backend.ts";
import { stampOf } from "../packet.ts";
import { type Moment, wallMsOf } from "../values/moment.ts";

const WINDOW_MS = STAMP_WINDOW_S * 1000;
/** So many windows are known ahead: five minutes. */
const AHEAD = 10;
/** The wall clock was set if it has moved by so much against the steady one. */
const CLOCK_SET_MS = 1000;

/** What it takes of a configuration. */
export type StampsConfig = Pick<
  ServerConfig,
  "publicKey" | "previousPrivateKey" | "replayWindowMs"
>;

/** Stamps of a server's key, and of the one before it while a rotation is under way. */
export class CurrentStamps {
  #makers: readonly KnockStamps[] = [];
  #replayWindowMs = 0;
  /** By window, as the firewall compares them. */
  #stamps: readonly { readonly word: number; readonly endsSteadyMs: number }[] = [];
  readonly #words = new Set<number>();
  #dueSteadyMs = 0;
  /** Wall clock less steady clock. */
  #offsetMs = 0;

  constructor(config: StampsConfig, now: Moment) {
    this.reconfigure(config, now);
  }

  /** From now on this configuration holds. */
  reconfigure({ publicKey, previousPrivateKey, replayWindowMs }: StampsConfig, now: Moment): void {
    const previous = previousPrivateKey ? [publicKeyOf("X25519", previousPrivateKey)] : [];
    this.#makers = [publicKey, ...previous].map(knockStamps);
    this.#replayWindowMs = replayWindowMs;
    this.renew(now);
  }

  /** Whether the stamps of now are about to run out, or the clock was set. */
  isDue(now: Moment): boolean {
    const movedMs = wallMsOf(now) - now.steadyMs - this.#offsetMs;
    return now.steadyMs >= this.#dueSteadyMs || Math.abs(movedMs) > CLOCK_SET_MS;
  }

  /** Takes the stamps of every window in which a knock may be dated that is accepted from now on. */
  renew(now: Moment): void {
    const wallMs = wallMsOf(now);
    const offsetMs = this.#offsetMs = wallMs - now.steadyMs;
    const windowOf = (ms: number) => stampWindowOf(Math.max(0, ms) / 1000);
    const first = windowOf(wallMs - this.#replayWindowMs);
    const last = windowOf(wallMs + this.#replayWindowMs) + AHEAD;
    this.#dueSteadyMs = now.steadyMs + AHEAD / 2 * WINDOW_MS;
    const windows = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    this.#stamps = windows.flatMap((window) => {
      const endsSteadyMs = (window + 1) * WINDOW_MS + this.#replayWindowMs - offsetMs;
      return this.#makers.map((make) => ({ word: wordOf(make(window)), endsSteadyMs }));
    });
    this.#words.clear();
    for (const { word } of this.#stamps) this.#words.add(word);
  }

  /** What the firewall is to let pass from now on. */
  list(now: Moment): KnockStamp[] {
    return this.#stamps.flatMap(({ word, endsSteadyMs }) => {
      const timeoutMs = Math.ceil(endsSteadyMs - now.steadyMs);
      return timeoutMs > 0 ? [{ word, timeoutMs }] : [];
    });
  }

  /** Whether a datagram of the right size bears one of them. */
  has(datagram: Uint8Array): boolean {
    return this.#words.has(wordOf(stampOf(datagram)));
  }
}

function wordOf(stamp: Uint8Array): number {
  return (stamp[0]! << 24 | stamp[1]! << 16 | stamp[2]! << 8 | stamp[3]!) >>> 0;
}
