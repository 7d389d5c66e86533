/**
 * Takes datagrams off the socket at once, and gives the judge what the moment allows: everything while there is time,
 * tagged knocks and a small budget of the others while the socket delivers faster than that. Works in turns of the event
 * loop, between two receives, so that the socket's buffer (277 knocks) never waits for more than a slice.
 */

import type { Address } from "./address.ts";
import type { KnockQueue, Waiting } from "./knock_queue.ts";
import { TokenBucket } from "./token_bucket.ts";

/** How long one turn may judge. At 50,000 datagrams a second the socket's buffer is full after 5.5 ms. */
const SLICE_MS = 2;
const BUSY_SLICE_MS = 0.5;
/** Deno hands over at most 129 waiting datagrams in a row: half of that in one turn is more than a burst. */
const BUSY_DATAGRAMS = 64;

/** What is judged in spite of a flood, a second. A repeated one costs 25 µs, one without a tag 120. */
const REPEATED_WHEN_BUSY = { perSecond: 2000, capacity: 100 };
const OTHERS_WHEN_BUSY = { perSecond: 200, capacity: 10 };

/** What an intake works with. */
export interface IntakeParts {
  readonly queue: KnockQueue;
  readonly judge: (waiting: Waiting) => void;
  /** Work that can wait, a little of it. */
  readonly whenIdle: () => NextStep;
  /** Drops a datagram that is not even worth queueing. */
  readonly drop: (reason: "size" | "version", source: Address) => void;
  readonly steadyMs: () => number;
  /** Runs a function in the next turn of the event loop. */
  readonly soon: (turn: () => void) => void;
  /** Runs a function some milliseconds from now. */
  readonly later: (turn: () => void) => void;
}

/** When to go on: in the next turn, after a pause, or when something arrives. */
export type NextStep = "soon" | "later" | "done";

/** The edge between the socket and the pipeline. */
export class Intake {
  readonly #parts: IntakeParts;
  readonly #repeatedWhenBusy = new TokenBucket(REPEATED_WHEN_BUSY);
  readonly #othersWhenBusy = new TokenBucket(OTHERS_WHEN_BUSY);
  #arrived = 0;
  #scheduled = false;
  #waiting = false;
  #stopped = false;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /** A datagram has arrived. The bytes are not kept. */
  offer(datagram: Uint8Array, source: Address): void {
    this.#arrived++;
    const refused = this.#parts.queue.offer(datagram, source);
    if (refused) this.#parts.drop(refused, source);
    else this.#schedule();
  }

  /** Judges nothing more. */
  stop(): void {
    this.#stopped = true;
  }

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#parts.soon(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    if (this.#stopped) return;
    const busy = this.#arrived >= BUSY_DATAGRAMS;
    this.#arrived = 0;
    const next = busy ? this.#judgeSome() : this.#judgeAll();
    if (next === "soon") this.#schedule();
    else if (next === "later" && !this.#waiting) {
      this.#waiting = true;
      this.#parts.later(() => {
        this.#waiting = false;
        this.#schedule();
      });
    }
  }

  /** Whatever waits, for a slice; then what can wait. */
  #judgeAll(): NextStep {
    const { queue, judge, whenIdle, steadyMs } = this.#parts;
    const endMs = steadyMs() + SLICE_MS;
    do {
      const waiting = queue.next();
      if (!waiting) return whenIdle();
      judge(waiting);
    } while (steadyMs() < endMs);
    return "soon";
  }

  /** The tagged ones, at least one; of the others what the budgets give. */
  #judgeSome(): NextStep {
    const { queue, judge, steadyMs } = this.#parts;
    const nowMs = steadyMs();
    const endMs = nowMs + BUSY_SLICE_MS;
    do {
      const waiting = queue.take("tagged") ??
        (queue.has("repeated") && this.#repeatedWhenBusy.take(1, nowMs) > 0
          ? queue.take("repeated")
          : queue.has("other") && this.#othersWhenBusy.take(1, nowMs) > 0
          ? queue.take("other")
          : undefined);
      if (!waiting) break;
      judge(waiting);
    } while (steadyMs() < endMs);
    return "soon"; // the queue is not empty, or the socket is about to fill it
  }
}
