/** A long-lived child process, its output kept line by line: what agents, the capture and `serve` have in common. */

import { within } from "./wait.ts";

/** How long a line may take that is sure to come; what is left is for a machine with other things to do. */
export const LINE_MS = 15_000;

/** A running program. Whoever starts one must dispose of it; the lab kills what is left in its namespaces. */
export class Program implements AsyncDisposable {
  readonly stdout: Lines;
  readonly stderr: Lines;
  readonly status: Promise<Deno.CommandStatus>;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;

  constructor(file: string, options: Deno.CommandOptions) {
    this.#child = new Deno.Command(file, {
      ...options,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.stdout = new Lines(this.#child.stdout);
    this.stderr = new Lines(this.#child.stderr);
    this.status = this.#child.status;
  }

  get pid(): number {
    return this.#child.pid;
  }

  async writeLine(line: string): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode(`${line}\n`));
  }

  async closeStdin(): Promise<void> {
    await this.#stdin.close().catch(() => {}); // the program may be gone already
  }

  /** Sends a signal; nothing happens where the program has ended. */
  signal(name: Deno.Signal): void {
    try {
      this.#child.kill(name);
    } catch (error) {
      if (!(error instanceof TypeError) && !(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  /** Sends a signal and waits for the end. Rejects where the program outlives `timeoutMs`. */
  async kill(name: Deno.Signal, timeoutMs = LINE_MS): Promise<Deno.CommandStatus> {
    this.signal(name);
    const status = await within(this.status, timeoutMs, undefined);
    if (!status) throw new Error(`still running ${timeoutMs} ms after ${name}\n${this.stderr}`);
    await Promise.all([this.stdout.ended, this.stderr.ended]);
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill("SIGKILL");
    await this.closeStdin();
  }
}

/** Every line that a stream has carried so far. */
export class Lines {
  readonly all: string[] = [];
  /** Resolves when the stream has ended. */
  readonly ended: Promise<void>;
  #hasEnded = false;
  #wake = Promise.withResolvers<void>();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.ended = this.#collect(stream);
  }

  /** The first line from index `from` on that matches. Rejects when the time is over or the stream has ended. */
  async waitFor(pattern: RegExp, timeoutMs = LINE_MS, from = 0): Promise<string> {
    const deadlineMs = performance.now() + timeoutMs;
    for (let index = from;; index++) {
      while (index >= this.all.length) {
        const leftMs = deadlineMs - performance.now();
        const why = this.#hasEnded ? "the output ended" : `${timeoutMs} ms went by`;
        if (this.#hasEnded || leftMs <= 0) {
          throw new Error(`no line matched ${pattern} before ${why}; the lines are:\n${this}`);
        }
        await within(this.#wake.promise, leftMs, undefined);
      }
      const line = this.all[index];
      if (line !== undefined && pattern.test(line)) return line;
    }
  }

  toString(): string {
    return this.all.map((line) => `  | ${line}`).join("\n");
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      if (parts.length) this.#add(parts);
    }
    this.#hasEnded = true;
    this.#add(rest ? [rest] : []);
  }

  #add(lines: readonly string[]): void {
    this.all.push(...lines);
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}

/** Whether a process runs. One that has ended is not reaped where process 1 is no init, as in many containers. */
export function isAlive(pid: number): boolean {
  try {
    Deno.kill(pid, "SIGCONT"); // does nothing to a program that runs
  } catch {
    return false;
  }
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return Deno.build.os !== "linux"; // no /proc elsewhere; here it has ended meanwhile
  }
}
