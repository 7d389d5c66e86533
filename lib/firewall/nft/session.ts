/**
 * One long-lived `nft -i`: a transaction in 0.4 ms instead of the 3.5 of a process each. One line is one transaction. nft
 * says nothing of a success, so each line is followed by a word that it does not know: once it complains about that one,
 * on stderr like everything else, the line before it is done.
 */

import { OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { programEnvironment } from "../../system/run_program.ts";

/** A transaction takes a millisecond; what takes this long hangs. */
const DEADLINE_MS = 1000;
/** nft's reading takes time by the square of a line's length: longer ones get a process of their own. */
const LINE_LIMIT = 8000;
/** nft keeps every line in memory: after so many a new process takes its place. */
const LINES_PER_PROCESS = 2000;

/** Runs transactions in the sets of openme's table, one at a time. */
export class NftSession {
  readonly #command: readonly [string, ...string[]];
  #process: Process | undefined;
  #closed = false;
  #hasWorked = false;
  #busy = false;

  /** With `command`, that program with its arguments stands for `nft`: in another namespace, for example. */
  constructor(command: readonly [string, ...string[]] = ["nft"]) {
    this.#command = command;
  }

  /** Starts the process, so that the first transaction need not wait for it. */
  prepare(): void {
    if (this.#closed || this.#process?.isUsable) return;
    try {
      this.#process = new Process(this.#command);
    } catch {
      this.#process = undefined; // the next `nft` of its own says why
    }
  }

  /**
   * One transaction. Returns false where this is not for a session: another one is under way and may hang, the text is
   * too long, or no process takes commands. Throws `OpenmeError`, code `FIREWALL`, where nft refuses it, and where the
   * process died or hangs meanwhile: then it may or may not have taken place.
   */
  async transact(text: string): Promise<boolean> {
    const line = text.trimEnd().replaceAll("\n", "; ");
    if (line.length > LINE_LIMIT || this.#busy) return false;
    this.prepare();
    const process = this.#process;
    if (!process) return false;
    let complaint: string;
    this.#busy = true;
    try {
      complaint = await process.run(line);
      this.#hasWorked = true;
    } catch (error) {
      if (this.#hasWorked) throw error;
      // An nft that was built without -i (OpenWrt's is): one process a transaction from now on.
      this.close();
      return false;
    } finally {
      this.#busy = false;
    }
    if (process.lines >= LINES_PER_PROCESS) {
      process.end();
      this.prepare();
    }
    if (complaint === "") return true;
    const shown = escapeUnprintable(complaint.split("\n", 1)[0]!.slice(0, 400));
    throw new OpenmeError("FIREWALL", `nft -i refused a change: ${shown}`);
  }

  close(): void {
    this.#closed = true;
    this.#process?.end();
    this.#process = undefined;
  }
}

/** One `nft -i`. */
class Process {
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  /** What it said since the last line, the word after that line, and who waits for the word. */
  #said = "";
  #word = "";
  #answer: PromiseWithResolvers<void> | undefined;
  isUsable = true;
  lines = 0;

  constructor([program, ...args]: readonly [string, ...string[]]) {
    this.#child = new Deno.Command(program, {
      args: [...args, "-i"],
      // At its end it writes what it was told to $HOME/.nft.history, addresses and all: not under a device.
      env: { ...programEnvironment(), HOME: "/dev/null" },
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#listen().catch(() => {}).then(() => this.#kill("ended in the middle of a change"));
    this.#child.unref();
  }

  /** What it said about this line; nothing where all is well. Throws where it died or hangs. */
  async run(line: string): Promise<string> {
    this.#word = `openme${++this.lines}done`;
    this.#said = "";
    const answer = this.#answer = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => this.#kill(`did not finish within ${DEADLINE_MS / 1000} s and was killed`),
      DEADLINE_MS,
    );
    this.#stdin.write(new TextEncoder().encode(`${line}\n${this.#word}\n`))
      .catch(() => this.#kill("ended in the middle of a change"));
    await answer.promise.finally(() => clearTimeout(timer));
    // Its complaint about the word begins with a line of its own; the carets under the last word may come late.
    return this.#said.slice(0, this.#said.indexOf(this.#word)).split("\n").slice(0, -2)
      .filter((each) => /[^\s^~]/.test(each)).join("\n");
  }

  /** Lets it end by itself, and kills it where it does not. */
  end(): void {
    this.isUsable = false;
    this.#stdin.close().catch(() => {});
    const killer = setTimeout(() => this.#kill("was killed"), DEADLINE_MS);
    this.#child.status.finally(() => clearTimeout(killer));
  }

  async #listen(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      this.#said += decoder.decode(chunk, { stream: true });
      if (this.#said.includes(this.#word)) this.#answer?.resolve();
    }
  }

  /** The line under way fails with this reason. */
  #kill(why: string): void {
    this.isUsable = false;
    this.#answer?.reject(new OpenmeError("FIREWALL", `nft -i ${why}`));
    this.#stdin.close().catch(() => {});
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}
