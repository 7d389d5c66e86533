/**
 * `serve --confirm`: as with a router's `commit confirmed`, whoever locks himself out need only wait. A file in the state
 * directory says that a `serve` waits; a key pressed where it runs, or `openme confirm`, which takes the file away,
 * confirms.
 */

import { join } from "node:path";
import { formatDuration } from "../duration.ts";
import type { Log } from "../log.ts";
import type { RunProgram } from "../run_program.ts";

const FILE_NAME = "unconfirmed";
const LOOK_INTERVAL_MS = 200;

/** The wait of one `serve`. */
export class Confirmation {
  /** Aborts when the process is asked to stop, and when nobody confirmed in time. */
  readonly signal: AbortSignal;
  /** Whether the time ran out. */
  hasFailed = false;
  /** Whether it has been neither confirmed nor given up: a server that fails meanwhile puts everything back. */
  isPending = true;
  readonly #controller = new AbortController();
  readonly #path: string;
  readonly #timeoutMs: number;
  readonly #log: Log;
  readonly #run: RunProgram;
  #confirmed = () => {};

  constructor(
    { stateDir, timeoutMs, stop, log, run }: {
      stateDir: string;
      timeoutMs: number;
      stop: AbortSignal;
      log: Log;
      run: RunProgram;
    },
  ) {
    this.#path = join(stateDir, FILE_NAME);
    this.#timeoutMs = timeoutMs;
    this.#log = log;
    this.#run = run;
    this.signal = AbortSignal.any([stop, this.#controller.signal]);
  }

  /** The guard stands: from now on the time runs. `confirmed` is called when somebody confirms. */
  begin(confirmed: () => void = () => {}): void {
    this.#confirmed = confirmed;
    Deno.writeTextFileSync(this.#path, "", { mode: 0o600 });
    let stopKeys = () => {};
    let finished = false;
    const timers = [
      // Whoever takes the file away first decides: openme confirm has said so to somebody by then.
      setTimeout(
        () => removeFile(this.#path) ? this.#fail(finish) : end("openme confirm"),
        this.#timeoutMs,
      ),
      setInterval(() => {
        if (!exists(this.#path)) end("openme confirm");
      }, LOOK_INTERVAL_MS),
    ];
    const finish = () => {
      finished = true;
      this.isPending = false;
      timers.forEach(clearTimeout);
      stopKeys();
      this.signal.removeEventListener("abort", finish);
      removeFile(this.#path);
    };
    const end = (by: string) => {
      finish();
      this.#log.info("confirmed", { by });
      this.#confirmed();
    };
    this.signal.addEventListener("abort", finish);
    isForeground(this.#run).then((may) => {
      if (may && !finished) stopKeys = awaitKey(() => end("a key"));
    });
    this.#log.warn("unconfirmed", {
      doing: `putting everything back in ${formatDuration(this.#timeoutMs)}`,
      hint: "check that you can still get in, then press a key here or run openme confirm",
    });
  }

  #fail(finish: () => void): void {
    finish();
    this.hasFailed = true;
    this.#log.error("not_confirmed", { doing: "putting everything back and stopping" });
    this.#controller.abort();
  }
}

/** What `openme confirm` does: `false` where no `serve` waits. */
export function confirmWaiting(stateDir: string): boolean {
  return removeFile(join(stateDir, FILE_NAME));
}

/**
 * Whether this process may use its terminal. One in the background would be stopped for it (SIGTTOU), time and all, and
 * nobody would put anything back.
 */
async function isForeground(run: RunProgram): Promise<boolean> {
  if (!Deno.stdin.isTerminal()) return false;
  try {
    const stat = await run({ program: "cat", args: [`/proc/${Deno.pid}/stat`], timeoutMs: 2000 });
    // proc_pid_stat(5): after the name come state, parent, process group, session, terminal, the terminal's group.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[2] === fields[5];
  } catch {
    return false; // openme confirm does it, too
  }
}

/** Calls `pressed` at the first key on a terminal; gives what stops that. */
function awaitKey(pressed: () => void): () => void {
  if (!Deno.stdin.isTerminal()) return () => {};
  let stopped = false;
  // Single keys, but Ctrl-C goes on being a signal.
  Deno.stdin.setRaw(true, { cbreak: true });
  const restore = () => {
    if (!stopped) Deno.stdin.setRaw(false);
    stopped = true;
  };
  Deno.stdin.read(new Uint8Array(1)).then((size) => {
    if (size && !stopped) pressed();
  }).catch(() => {});
  return restore;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound);
  }
}

function removeFile(path: string): boolean {
  try {
    Deno.removeSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
