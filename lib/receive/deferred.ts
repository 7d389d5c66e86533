/**
 * Knocks whose client was not among the first to be tried: docs/protocol.md, "Whose signature". Each gets a few
 * signatures checked in its turn, and sources take turns, so that no knock waits for the end of another's search.
 */

import type { Address } from "../values/address.ts";
import type { Candidates, Verdict } from "../gate.ts";
import { FairQueue } from "./fair_queue.ts";
import { blockOf } from "./queue.ts";
import { keyName } from "./ephemeral_keys.ts";
import { ephemeralKeyOf, type Knock } from "../packet.ts";

const BOUNDS = { capacity: 256, perLane: 64 };

/** A knock that waits for its client to be found. */
export interface Deferred {
  /** A copy of its own. */
  readonly datagram: Uint8Array;
  readonly source: Address;
  readonly knock: Knock;
  /** By which it is judged. */
  readonly candidates: Candidates;
  /** The steps of its judgement, of which each tries one key. */
  readonly steps: Iterator<Knock, Verdict>;
}

/** The knocks whose verification goes on; one at a time under an ephemeral key. */
export class DeferredVerifications {
  readonly #isStale: (deferred: Deferred) => boolean;
  readonly #dropped: (source: Address) => void;
  readonly #inTime = new FairQueue<Deferred>(BOUNDS);
  /** These can open nothing any more. They are searched when no other waits, so that a client hears of its clock. */
  readonly #stale = new FairQueue<Deferred>(BOUNDS);
  readonly #keys = new Set<string>();

  /** `dropped` is told the source of each knock that is given up. */
  constructor(
    { isStale, dropped }: {
      isStale: (deferred: Deferred) => boolean;
      dropped: (source: Address) => void;
    },
  ) {
    this.#isStale = isStale;
    this.#dropped = dropped;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** A knock joins, behind the others of its source; or, where there is no room, one of them is dropped. */
  add(deferred: Deferred): void {
    const name = keyName(ephemeralKeyOf(deferred.datagram));
    if (this.#keys.has(name)) return this.#dropped(deferred.source);
    this.#keys.add(name);
    const queue = this.#isStale(deferred) ? this.#stale : this.#inTime;
    const given = queue.push(blockOf(deferred.source), deferred);
    if (!given) return;
    this.#keys.delete(keyName(ephemeralKeyOf(given.datagram)));
    this.#dropped(given.source);
  }

  /** Takes out the knock whose turn it is; {@linkcode add} lets it wait for its next turn. */
  take(): Deferred | undefined {
    for (let next = this.#inTime.shift(); next; next = this.#inTime.shift()) {
      this.#keys.delete(keyName(ephemeralKeyOf(next.datagram)));
      if (!this.#isStale(next)) return next;
      this.add(next);
    }
    const stale = this.#stale.shift();
    if (stale) this.#keys.delete(keyName(ephemeralKeyOf(stale.datagram)));
    return stale;
  }
}
