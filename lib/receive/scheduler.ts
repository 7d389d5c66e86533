/**
 * When queued datagrams are judged: all of them while there is time; tagged ones and a few others while the socket
 * delivers faster than that. Works in turns of the event loop, between two receives, so that the socket's buffer (277
 * knocks) never waits for more than a slice.
 */

import type { Address } from "../values/address.ts";
import type { KnockQueue, Queued } from "./queue.ts";
import { MOST_AT_ONCE } from "./socket.ts";

/** How long one turn may judge, and when the socket counts as delivering more than can be judged. */
export interface Pace {
  readonly sliceMs: number;
  readonly busySliceMs: number;
  /** It is busy where so many datagrams have arrived since the last turn. */
  readonly busyDatagrams: number;
  /** How many without a fresh tag are judged in a busy turn. */
  readonly busyRest: number;
}

/**
 * For a socket that is read one by one: at 50,000 datagrams a second its buffer (277) is full after 5.5 ms. Deno hands
 * over at most 129 waiting datagrams in a row: a third of that in one turn is more than a burst.
 */
export const PACE_ONE_BY_ONE: Pace = {
  sliceMs: 1,
  busySliceMs: 0.5,
  busyDatagrams: 40,
  busyRest: 1,
};

/** For one whose buffer holds thousands. It is busy where not all of that could be taken at once. */
export const PACE_BATCHES: Pace = {
  sliceMs: 4,
  busySliceMs: 1,
  busyDatagrams: MOST_AT_ONCE,
  busyRest: 4,
};

/** What a scheduler works with. */
export interface SchedulerParts {
  readonly queue: KnockQueue;
  readonly pace: Pace;
  readonly judge: (waiting: Queued) => void;
  /** Work that can wait, a little of it, or less while others wait; returns whether there is more. */
  readonly later: (idle: boolean) => boolean;
  /** Drops a datagram that is not even worth queueing. */
  readonly drop: (reason: "size" | "version", source: Address) => void;
  readonly steadyMs: () => number;
  /** Runs a function once the socket has handed over what it has. */
  readonly soon: (turn: () => void) => void;
  /**
   * Runs a function after the event loop has slept, however shortly. One that is woken again and again without sleep
   * looks at its sockets only every 61st time: with turns of 2 ms, 17,000 of 20,000 datagrams a second were lost.
   */
  readonly afterSleep: (turn: () => void) => void;
}

/** Stands between the socket and the judge. */
export class Scheduler {
  readonly #parts: SchedulerParts;
  #arrived = 0;
  #soon = false;
  #sleeping = false;
  #stopped = false;

  constructor(parts: SchedulerParts) {
    this.#parts = parts;
  }

  /** A datagram has arrived. The bytes are copied. */
  offer(datagram: Uint8Array, source: Address): void {
    this.#arrived++;
    const refused = this.#parts.queue.offer(datagram, source);
    if (refused) return this.#parts.drop(refused, source);
    if (this.#soon) return;
    this.#soon = true;
    this.#parts.soon(() => {
      this.#soon = false;
      this.#turn();
    });
  }

  /** Nothing more waits at the socket, so no turn of the event loop is waited for. */
  judgeNow(): void {
    if (this.#soon && !this.#sleeping) this.#turn();
  }

  /** Judges nothing more. */
  stop(): void {
    this.#stopped = true;
  }

  #turn(): void {
    if (this.#stopped) return;
    const busy = this.#arrived >= this.#parts.pace.busyDatagrams;
    this.#arrived = 0;
    const more = busy ? this.#judgeSome() : this.#judgeAll();
    if (!more || this.#sleeping) return;
    this.#sleeping = true;
    this.#parts.afterSleep(() => {
      this.#sleeping = false;
      if (!this.#soon) this.#turn();
    });
  }

  /** For a slice: everything that is queued; then deferred knocks, then late copies. */
  #judgeAll(): boolean {
    const { queue, pace, judge, later, steadyMs } = this.#parts;
    const endMs = steadyMs() + pace.sliceMs;
    do {
      const waiting = queue.next();
      if (waiting) judge(waiting);
      else {
        const more = later(true);
        const late = queue.takeLate();
        if (!late) return more;
        judge(late);
      }
    } while (steadyMs() < endMs);
    later(false);
    return true;
  }

  /** A few of the rest, so that none waits for ever; then tagged ones, for a shorter slice. */
  #judgeSome(): boolean {
    const { queue, pace, judge, steadyMs } = this.#parts;
    const endMs = steadyMs() + pace.busySliceMs;
    for (let i = 0; i < pace.busyRest; i++) {
      const waiting = queue.takeRest();
      if (!waiting) break;
      judge(waiting);
    }
    do {
      const waiting = queue.takeTagged();
      if (!waiting) break;
      judge(waiting);
    } while (steadyMs() < endMs);
    return true; // the queue is not empty, or the socket is about to fill it
  }
}
