/** Time that a test lets pass: timers become due in their order, and no test waits. */

import { setImmediate } from "node:timers";

/** Stands in for `setTimeout`, `setInterval` and both clocks until it is disposed of. */
export class VirtualTime implements Disposable {
  readonly #originals = { setTimeout, setInterval, clearTimeout, clearInterval };
  readonly #realNow = { performance: performance.now, date: Date.now };
  readonly #timers = new Map<number, { dueMs: number; everyMs?: number; run: () => void }>();
  #nowMs = 1_000_000;
  #last = 0;

  constructor() {
    const add = (repeats: boolean) => (run: () => void, ms = 0) => {
      const repeat = repeats ? { everyMs: ms } : {};
      this.#timers.set(++this.#last, { dueMs: this.#nowMs + ms, run, ...repeat });
      return this.#last;
    };
    const clear = (id?: number) => void this.#timers.delete(id ?? 0);
    Object.assign(globalThis, {
      setTimeout: add(false),
      setInterval: add(true),
      clearTimeout: clear,
      clearInterval: clear,
    });
    const startMs = Date.now() - this.#nowMs;
    performance.now = () => this.#nowMs;
    Date.now = () => startMs + this.#nowMs;
  }

  /** How many timers are set. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Lets so much time pass, and all that becomes due run to where it waits again. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.settle();
    while (true) {
      const [next] = [...this.#timers].filter(([, { dueMs }]) => dueMs <= endMs)
        .sort(([, a], [, b]) => a.dueMs - b.dueMs);
      if (!next) break;
      const [id, timer] = next;
      this.#nowMs = Math.max(this.#nowMs, timer.dueMs);
      if (timer.everyMs === undefined) this.#timers.delete(id);
      else timer.dueMs += timer.everyMs;
      timer.run();
      await this.settle();
    }
    this.#nowMs = endMs;
  }

  /** Lets what is under way run to where it waits. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  [Symbol.dispose](): void {
    Object.assign(globalThis, this.#originals);
    performance.now = this.#realNow.performance;
    Date.now = this.#realNow.date;
  }
}
