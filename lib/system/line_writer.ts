/**
 * Writes lines to standard error without ever holding up the program: where a terminal is stopped (Ctrl-S), an ssh
 * connection hangs or a log collector no longer reads, a plain write blocks, and every timer of the process with it.
 */

import { pause } from "./clock.ts";

/** Lines that may wait. The rest is dropped and counted. */
const MOST_LINES = 1000;
const RETRY_MS = 50;
const ERASE_LINE = "\r\x1b[K";

/** Where lines go: `Deno.stderr`. */
export interface LineSink {
  write(bytes: Uint8Array): Promise<number>;
}

/** Writes lines in batches, and on a terminal keeps a status below them. */
export class LineWriter {
  readonly #sink: LineSink;
  readonly #lost: (lines: number) => string;
  #waiting: string[] = [];
  #lostLines = 0;
  #status = "";
  #shownStatus = "";
  #working: Promise<void> | undefined;

  /** `lost` renders the line that reports how many lines were dropped. */
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

  /** Shows a status below all lines, replacing the last one; "" removes it. Only for a terminal. */
  showStatus(text: string): void {
    this.#status = text;
    this.#start();
  }

  /** Resolves when everything is written, at the latest after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([this.#working, pause(timeoutMs, over.signal)]);
    over.abort();
  }

  #start(): void {
    this.#working ??= this.#work();
  }

  async #work(): Promise<void> {
    await Promise.resolve(); // lines of one turn of the event loop go out in one write
    for (;;) {
      const lines = this.#waiting.splice(0);
      if (this.#lostLines > 0) lines.push(this.#lost(this.#lostLines));
      this.#lostLines = 0;
      if (lines.length === 0 && this.#status === this.#shownStatus) break;
      const erase = this.#shownStatus === "" ? "" : ERASE_LINE;
      this.#shownStatus = this.#status;
      await this.#put(erase + lines.map((line) => line + "\n").join("") + this.#status);
    }
    this.#working = undefined; // no await since the check above: nothing can have been added
  }

  async #put(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let written = 0; written < bytes.length;) {
      try {
        written += await this.#sink.write(bytes.subarray(written));
      } catch (cause) {
        // Closed.
        if (!(cause instanceof Deno.errors.WouldBlock)) return;
        await pause(RETRY_MS);
      }
    }
  }
}
