/**
 * Two people: who has knocked within the last minute, and which knocks wait for somebody else's. In memory only: a
 * restart forgets both, and then both knock again.
 */

import type { SignedKnock } from "../gate.ts";
import { sameAddress } from "../values/address.ts";

/** How far two knocks may lie apart. */
const TOGETHER_MS = 60_000;
/** Knocks of one client that wait: for a few addresses. */
const MOST_WAITING = 8;

interface Waiting {
  readonly knock: SignedKnock;
  readonly atMs: number;
}

/** All times are of the steady clock. Bounded by the registered clients. */
export class Companions {
  /** When each client knocked last, by name. */
  readonly #knockedAtMs = new Map<string, number>();
  /** By key, the oldest first. */
  readonly #waiting = new Map<string, readonly Waiting[]>();

  /** Whether this client has knocked within a minute before. */
  hasKnocked(client: string, nowMs: number): boolean {
    return nowMs - (this.#knockedAtMs.get(client) ?? -Infinity) <= TOGETHER_MS;
  }

  /** A knock of this client passed every check, or every one but `needs`: then it waits. */
  knocked(client: string, nowMs: number, waits: SignedKnock | undefined): void {
    this.#knockedAtMs.set(client, nowMs);
    if (!waits) return;
    // The last one for an address counts: a client that waits for its port knocks again and again.
    const others = (this.#waiting.get(waits.key) ?? []).filter(({ knock }) =>
      !sameAddress(addressOf(knock), addressOf(waits))
    );
    this.#waiting.set(waits.key, [...others, { knock: waits, atMs: nowMs }].slice(-MOST_WAITING));
  }

  /** Takes the knocks that wait no longer: too old, or let in by `tryAgain`. */
  release(nowMs: number, tryAgain: (knock: SignedKnock) => boolean): void {
    for (const [key, knocks] of this.#waiting) {
      const left = knocks.filter(({ knock, atMs }) =>
        nowMs - atMs <= TOGETHER_MS && !tryAgain(knock)
      );
      if (left.length > 0) this.#waiting.set(key, left);
      else this.#waiting.delete(key);
    }
  }
}

function addressOf({ target, source }: SignedKnock) {
  return target ?? source;
}
