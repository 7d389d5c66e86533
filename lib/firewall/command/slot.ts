/** What is known of one entry: whether it is to be open, whether a rule of it may stand, and which closes failed. */

import type { OpenmeError } from "../../values/errors.ts";
import type { Entry } from "./line.ts";

/** A close that failed is tried again after 1 s, 2 s, 4 s … and at last every 5 minutes. */
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 300_000;

type Timer = ReturnType<typeof setTimeout>;

/** One entry, with the timers that close it. */
export class Slot {
  entry: Entry;
  /** Until when it is to be open, steady ms; `undefined`: it is to be closed. */
  endsAtMs: number | undefined;
  /** Whether a rule may stand: written down before `open` runs, until a `close` has succeeded. */
  mayStand = false;
  /** Whether `open` has succeeded, and nothing seen since says otherwise. */
  isOpen = false;
  /** How many closes in a row have failed. */
  failedCloses = 0;
  /** Those who wait for the result of the next run. */
  readonly waiters: PromiseWithResolvers<void>[] = [];
  #closeError: OpenmeError | undefined;
  #endTimer: Timer | undefined;
  #retryTimer: Timer | undefined;

  constructor(entry: Entry) {
    this.entry = entry;
  }

  /** From now on it is to be open until then, when `end` is called. */
  want(entry: Entry, endsAtMs: number, end: () => void): void {
    this.entry = entry;
    this.endsAtMs = endsAtMs;
    this.forgetFailures();
    clearTimeout(this.#endTimer);
    this.#endTimer = setTimeout(end, Math.max(0, endsAtMs - performance.now()));
  }

  /** From now on it is to be closed. Gives the error of the last close, while the next one waits for its time. */
  unwant(): OpenmeError | undefined {
    this.endsAtMs = undefined;
    clearTimeout(this.#endTimer);
    return this.#retryTimer === undefined ? undefined : this.#closeError;
  }

  /** A close has failed: `retry` is called after a pause, whose length in ms this gives. */
  closeFailed(error: OpenmeError, retry: () => void): number {
    this.stopRetry();
    const pauseMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failedCloses);
    this.#closeError = error;
    this.failedCloses++;
    this.#retryTimer = setTimeout(retry, pauseMs);
    return pauseMs;
  }

  forgetFailures(): void {
    this.failedCloses = 0;
    this.#closeError = undefined;
    this.stopRetry();
  }

  stopRetry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
  }

  stopTimers(): void {
    clearTimeout(this.#endTimer);
    this.stopRetry();
  }
}
