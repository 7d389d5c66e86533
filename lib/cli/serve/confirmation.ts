/**
 * `serve --confirm`: as with a router's `commit confirmed`, an administrator who is locked out need only wait. Until
 * `openme confirm` comes over the control socket, everything is put back when the time is over, when the server is asked
 * to stop, and when anything in it fails.
 */

import { formatDuration } from "../../values/duration.ts";
import { OpenmeError } from "../../values/errors.ts";
import { errorFields, type Log } from "../../system/log.ts";

const COUNT_MS = 1000;

/** What a confirmation works with. */
export interface ConfirmationParts {
  readonly timeoutMs: number;
  /** Aborts when the process is asked to stop. */
  readonly stop: AbortSignal;
  readonly log: Log;
  /** Shows the line that counts on the terminal, "" takes it away; `undefined` where no person is watching. */
  readonly show: ((text: string) => void) | undefined;
}

/** One `serve` that waits to be confirmed. While it waits, no error anywhere in the process ends the process. */
export class Confirmation implements Disposable {
  /** Aborts when the process is asked to stop, when the time is over, and when something fails meanwhile. */
  readonly signal: AbortSignal;
  /** Whether `openme confirm` came in time. A server that stops without it puts everything back. */
  isConfirmed = false;
  /** Whether the time was over or something failed before it. */
  hasFailed = false;
  readonly #parts: ConfirmationParts;
  readonly #controller = new AbortController();
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  readonly #listeners: (() => void)[] = [];
  /** Aborts when errors and signals are to do again what they do to any serve. */
  readonly #released = new AbortController();

  constructor(parts: ConfirmationParts) {
    this.#parts = parts;
    this.signal = AbortSignal.any([parts.stop, this.#controller.signal]);
    this.signal.addEventListener("abort", () => this.#stopCounting());
    const { signal } = this.#released;
    const onError = (event: Event, cause: unknown) => this.#takeError(event, cause);
    globalThis.addEventListener("error", (event) => onError(event, event.error), { signal });
    globalThis.addEventListener("unhandledrejection", (event) => onError(event, event.reason), {
      signal,
    });
    // Ctrl-Z would stop the process, and the time with it.
    if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTSTP", this.#onTerminalStop);
  }

  /** The guard stands: from now on the time runs. */
  begin(): void {
    const { timeoutMs, log, show } = this.#parts;
    const endMs = performance.now() + timeoutMs;
    this.#timers.push(setTimeout(() => this.#fail(), timeoutMs));
    if (!show) {
      log.warn("unconfirmed", {
        doing: `putting everything back in ${formatDuration(timeoutMs)}`,
        hint: "check that you can still get in, then run openme confirm",
      });
      return;
    }
    const count = () => show(formatCountdown(endMs - performance.now()));
    this.#timers.push(setInterval(count, COUNT_MS));
    count();
  }

  /** Calls `listener` once it is confirmed. */
  onConfirmed(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Confirms; throws `OpenmeError` where it is too late, or was done before. */
  confirm(): void {
    if (this.isConfirmed || this.signal.aborted) throw nothingToConfirm();
    // In one step with the end of the time: an administrator who is told "confirmed" has confirmed.
    this.isConfirmed = true;
    this.#release();
    this.#parts.log.info("confirmed");
    this.#listeners.forEach((tell) => tell());
  }

  [Symbol.dispose](): void {
    this.#release();
  }

  #release(): void {
    this.#stopCounting();
    this.#released.abort();
    if (Deno.build.os !== "windows") Deno.removeSignalListener("SIGTSTP", this.#onTerminalStop);
  }

  #fail(cause?: unknown): void {
    if (this.signal.aborted) return;
    this.hasFailed = true;
    this.#controller.abort();
    this.#parts.log.error("not_confirmed", {
      ...(cause === undefined ? {} : errorFields(cause)),
      doing: "putting everything back and stopping",
    });
  }

  #stopCounting(): void {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
    this.#parts.show?.("");
  }

  readonly #onTerminalStop = () => {};

  /** Such an error would end the process at once, with the ports closed, as it does to a server that is confirmed. */
  #takeError(event: Event, cause: unknown): void {
    event.preventDefault();
    if (this.signal.aborted) this.#parts.log.error("failed", errorFields(cause));
    else this.#fail(cause);
  }
}

/** The error of `openme confirm` where no server waits for it. */
export function nothingToConfirm(): OpenmeError {
  return new OpenmeError("STATE", "no openme serve waits for a confirmation", {
    hint: "it was confirmed already, or its time ran out and everything was put back",
  });
}

/** The line that counts, of one row of the terminal. */
export function formatCountdown(leftMs: number): string {
  const seconds = Math.max(0, Math.ceil(leftMs / 1000));
  const left = seconds < 100 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
  const text = `openme: all is put back in ${left}; if you can still get in: openme confirm`;
  return text.slice(0, terminalWidth() - 1); // a wrapped line cannot be written over
}

function terminalWidth(): number {
  try {
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}
