/** Timers that a test lets run out: no test waits for a time, or races one. */

/** Stands in for `setTimeout` and `setInterval` until it is disposed of. */
export class StillTimers implements Disposable {
  readonly #originals = { setTimeout, setInterval, clearTimeout, clearInterval };
  readonly #waiting = new Map<number, { readonly run: () => void; readonly repeats: boolean }>();
  #last = 0;

  constructor() {
    const add = (repeats: boolean) => (run: () => void) => {
      this.#waiting.set(++this.#last, { run, repeats });
      return this.#last;
    };
    const clear = (id?: number) => void this.#waiting.delete(id ?? 0);
    Object.assign(globalThis, {
      setTimeout: add(false),
      setInterval: add(true),
      clearTimeout: clear,
      clearInterval: clear,
    });
  }

  /** Lets everything run out once that is waiting now. */
  runOut(): void {
    for (const [id, { run, repeats }] of [...this.#waiting]) {
      if (!this.#waiting.has(id)) continue; // cleared by one before it
      if (!repeats) this.#waiting.delete(id);
      run();
    }
  }

  [Symbol.dispose](): void {
    Object.assign(globalThis, this.#originals);
  }
}
