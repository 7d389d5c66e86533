/**
 * `serve --confirm`: as with a router's `commit confirmed`, an administrator who locks himself out need only wait.
 * `openme confirm` confirms, over the control socket. Until then everything is put back when the time is over, when the
 * server is asked to stop, and when anything in it fails.
 */

import { formatDuration } from "../../values/duration.ts";
import { OpenmeError } from "../../values/errors.ts";
import { errorFields, type Log } from "../../system/log.ts";
import { formatCountdown } from "./terminal.ts";

const COUNT_MS = 1000;

/** What a wait works with. */
export interface ConfirmationParts {
  readonly timeoutMs: number;
  /** Aborts when the process is asked to stop. */
  readonly stop: AbortSignal;
  readonly log: Log;
  /** Shows one line on the terminal that counts, "" takes it away; `undefined` where no person is watching. */
  readonly show: ((text: string) => void) | undefined;
}

/** The wait of one `serve`. While it lasts, no error of any part of the process ends the process. */
export class Confirmation implements Disposable {
  /** Aborts when the process is asked to stop, when nobody confirmed in time, and when something failed meanwhile. */
  readonly signal: AbortSignal;
  /** Whether `openme confirm` came in time. A server that stops without it puts everything back. */
  isConfirmed = false;
  /** Whether it ended without one, and not because somebody stopped the server. */
  hasFailed = false;
  readonly #parts: ConfirmationParts;
  readonly #controller = new AbortController();
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  readonly #listeners: (() => void)[] = [];

  constructor(parts: ConfirmationParts) {
    this.#parts = parts;
    this.signal = AbortSignal.any([parts.stop, this.#controller.signal]);
    this.signal.addEventListener("abort", () => this.#stopCounting());
    globalThis.addEventListener("error", this.#onError);
    globalThis.addEventListener("unhandledrejection", this.#onRejection);
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

  /** `listener` is called when somebody confirms. */
  onConfirmed(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** What `openme confirm` asks for; throws `OpenmeError` where it is too late, or was done. */
  confirm(): void {
    if (this.isConfirmed || this.signal.aborted) throw nothingToConfirm();
    // Decided here, in one step with the end of the time: whoever is told "confirmed" has confirmed.
    this.isConfirmed = true;
    this.#release();
    this.#parts.log.info("confirmed");
    this.#listeners.forEach((tell) => tell());
  }

  [Symbol.dispose](): void {
    this.#release();
  }

  /** From now on signals and errors do what they do to any serve. */
  #release(): void {
    this.#stopCounting();
    globalThis.removeEventListener("error", this.#onError);
    globalThis.removeEventListener("unhandledrejection", this.#onRejection);
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

  readonly #onError = (event: ErrorEvent) => this.#takeError(event, event.error);
  readonly #onRejection = (event: PromiseRejectionEvent) => this.#takeError(event, event.reason);
  readonly #onTerminalStop = () => {};

  /** Without this, such an error ends the process at once, with the ports closed: so it is once somebody confirmed. */
  #takeError(event: Event, cause: unknown): void {
    event.preventDefault();
    if (this.signal.aborted) this.#parts.log.error("failed", errorFields(cause));
    else this.#fail(cause);
  }
}

/** What `openme confirm` is told where nothing waits for it. */
export function nothingToConfirm(): OpenmeError {
  return new OpenmeError("STATE", "no openme serve waits for a confirmation", {
    hint: "it was confirmed already, or its time ran out and everything was put back",
  });
}
