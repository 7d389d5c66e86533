/**
 * Lines to standard error that never hold up the program: a terminal that is stopped (Ctrl-S), an ssh connection that
 * hangs and a log collector that reads no more fill the pipe, and a plain write would then wait for ever, with every
 * timer of the process.
 */

import { pause } from "./clock.ts";

/** How many lines may wait; what comes after that is counted. */
const MOST_LINES = 1000;
const RETRY_MS = 50;
const ERASE_LINE = "\r\x1b[K";

/** Where lines go: `Deno.stderr`. */
export interface LineSink {
  write(bytes: Uint8Array): Promise<number>;
}

/** Writes lines one batch at a time, and on a terminal keeps one line below them up to date. */
export class LineWriter {
  readonly #sink: LineSink;
  readonly #lost: (lines: number) => string;
  #waiting: string[] = [];
  #lostLines = 0;
  #status = "";
  #shownStatus = "";
  #working: Promise<void> | undefined;

  /** `lost` renders the line that says how many lines could not be written. */
  constructor(sink: LineSink, { lost }: { lost: (lines: number) => string }) {
    this.#sink = sink;
    this.#lost = lost;
  }

  /** Adds a line, without its line break. Never throws and never waits. */
  readonly write = (line: string): void => {
    if (this.#waiting.length < MOST_LINES) this.#waiting.push(line);
    else this.#lostLines++;
    this.#start();
  };

  /** Shows a text below all lines, in place of the one before; "" takes it away. Only for a terminal. */
  showStatus(text: string): void {
    this.#status = text;
    this.#start();
  }

  /** Resolves when everything is written, at the latest after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, timeoutMs));
    await Promise.race([this.#working, late]);
    clearTimeout(timer);
  }

  #start(): void {
    this.#working ??= this.#work();
  }

  async #work(): Promise<void> {
    await Promise.resolve(); // the lines of one moment go out in one write
    for (;;) {
      const lines = this.#waiting.splice(0);
      if (this.#lostLines > 0) lines.push(this.#lost(this.#lostLines));
      this.#lostLines = 0;
      if (lines.length === 0 && this.#status === this.#shownStatus) break;
      const erase = this.#shownStatus === "" ? "" : ERASE_LINE;
      this.#shownStatus = this.#status;
      await this.#put(erase + lines.map((line) => line + "\n").join("") + this.#status);
    }
    this.#working = undefined; // no await since the last look: nothing can have been added
  }

  async #put(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let written = 0; written < bytes.length;) {
      try {
        written += await this.#sink.write(bytes.subarray(written));
      } catch (cause) {
        // Closed: nobody reads it any more.
        if (!(cause instanceof Deno.errors.WouldBlock)) return;
        await pause(RETRY_MS);
      }
    }
  }
}
