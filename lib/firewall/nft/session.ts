/**
 * One long-lived `nft -i`: a batch of changes in 0.4 ms instead of the 3.5 of a process each. One line is one
 * transaction. It says nothing of a success, so each line is followed by a word that it cannot know: once it complains
 * about that one, on stderr like everything else, the line before it is done.
 */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { programEnvironment } from "../../system/run_program.ts";

/** A batch takes a millisecond; what takes this long hangs. */
const DEADLINE_MS = 1000;
/** It remembers its lines, and its reading takes time by the square of their length: longer ones get their own `nft`. */
const LINE_LIMIT = 8000;
/** After so many lines a fresh process: what the old one remembers goes with it. */
const LINES_PER_PROCESS = 2000;

/** Runs batches of commands for the sets of openme's table, one at a time: whoever comes meanwhile must not wait here. */
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

  /** Starts the process, so that the first batch need not wait for it. Where it cannot, batches will say so. */
  prepare(): void {
    if (!this.#closed && !this.#process?.isUsable()) this.#process = startProcess(this.#command);
  }

  /**
   * One transaction. Returns false where this is not for a session: another one is under way and may hang, the text is
   * too long, or there is no process to be had, or none that takes commands. Throws `OpenmeError`, code `FIREWALL`,
   * where nft refuses it, and where the process died or hangs meanwhile: then nobody knows whether it took place.
   */
  async transact(text: string): Promise<boolean> {
    const line = text.trimEnd().replaceAll("\n", "; ");
    if (line.length > LINE_LIMIT) return false;
    this.prepare();
    const process = this.#process;
    if (!process || this.#busy) return false;
    let complaint: string;
    this.#busy = true;
    try {
      complaint = await process.run(line);
      this.#hasWorked = true;
    } catch (error) {
      if (this.#hasWorked) throw error;
      // An nft that was built without this (OpenWrt's is): one process a batch from now on, beginning with this one.
      this.close();
      return false;
    } finally {
      this.#busy = false;
    }
    if (process.lines >= LINES_PER_PROCESS) {
      process.end();
      this.#process = undefined;
      this.prepare();
    }
    if (complaint === "") return true;
    const shown = escapeUnprintable(complaint.split("\n").slice(0, 1).join("").slice(0, 400));
    throw new OpenmeError("FIREWALL", `nft -i refused a change: ${shown}`);
  }

  close(): void {
    this.#closed = true;
    this.#process?.end();
    this.#process = undefined;
  }
}

/** `undefined` where it cannot be started; the next single `nft` then says why. */
function startProcess(command: readonly [string, ...string[]]): Process | undefined {
  try {
    return new Process(command);
  } catch {
    return undefined;
  }
}

/** One `nft -i`. */
class Process {
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  #ended = false;
  #said = "";
  #heard: () => void = () => {};
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
    this.#listen().catch(() => {});
    this.#child.status.then(() => this.#over(), () => this.#over());
    this.#child.unref();
  }

  isUsable(): boolean {
    return !this.#ended;
  }

  /** What it said about this line; nothing where all is well. Throws where it died or hangs. */
  async run(line: string): Promise<string> {
    const word = `openme${++this.lines}done`;
    this.#said = "";
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), DEADLINE_MS);
    });
    const written = this.#stdin.write(new TextEncoder().encode(`${line}\n${word}\n`));
    written.catch(() => this.#over());
    try {
      while (!this.#said.includes(word)) {
        if (this.#ended) {
          throw new OpenmeError("FIREWALL", "nft -i ended in the middle of a change");
        }
        const heard = new Promise<void>((resolve) => this.#heard = resolve);
        if (await Promise.race([heard, late]) !== "late") continue;
        throw new OpenmeError(
          "FIREWALL",
          `nft -i did not finish within ${DEADLINE_MS / 1000} s and was killed`,
        );
      }
    } catch (error) {
      this.#kill();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    // Its complaint about the word begins with a line of its own; the carets under the last word may come late.
    return this.#said.slice(0, this.#said.indexOf(word)).split("\n").slice(0, -2)
      .filter((each) => /[^\s^~]/.test(each)).join("\n");
  }

  /** Lets it end by itself, and not by itself where it does not. */
  end(): void {
    this.#ended = true;
    this.#stdin.close().catch(() => {});
    const killer = setTimeout(() => this.#kill(), DEADLINE_MS);
    this.#child.status.then(() => clearTimeout(killer), () => clearTimeout(killer));
  }

  async #listen(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      this.#said += decoder.decode(chunk, { stream: true });
      this.#heard();
    }
    this.#over();
  }

  #over(): void {
    this.#ended = true;
    this.#heard();
  }

  #kill(): void {
    this.#over();
    this.#stdin.close().catch(() => {});
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      // It has just ended by itself.
      if (!(error instanceof TypeError) && !(error instanceof Deno.errors.NotFound)) {
        throw new OpenmeError("FIREWALL", `cannot kill nft -i: ${messageOf(error)}`);
      }
    }
  }
}
