/** Runs the user's programs for one entry, and reads what stands. Each has a deadline; its children end with it. */

import type { CommandLines } from "../plan.ts";
import { OpenmeError } from "../../values/errors.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { type Entry, fillIn } from "./line.ts";
import { listingReader } from "./listing.ts";
import { runFirewall } from "../run.ts";

const DEADLINE_MS = 10_000;

/** The programs of `server.command`. Every failure is an `OpenmeError`. */
export class Programs {
  readonly #lines: CommandLines;
  readonly #run: RunProgram;
  readonly #read: ((output: string) => Map<string, Entry>) | undefined;

  constructor(lines: CommandLines, run: RunProgram) {
    this.#lines = lines;
    this.#run = run;
    this.#read = lines.list && listingReader(lines.list.entry);
  }

  get canList(): boolean {
    return this.#lines.list !== undefined;
  }

  async open(entry: Entry, leftMs: number): Promise<void> {
    await this.#runLine(fillIn(this.#lines.open, entry, leftMs), { changes: true });
  }

  async close(entry: Entry): Promise<void> {
    await this.#runLine(fillIn(this.#lines.close, entry, 0), { changes: true });
  }

  /** openme's rules that stand, by `entryKey`. Only where there is a `list`. */
  async list(): Promise<Map<string, Entry>> {
    return this.#read!(await this.#runLine(this.#lines.list!.line, { changes: false }));
  }

  /** What is wrong where a program succeeded and the listing says otherwise. */
  contradiction(key: string, { opened }: { opened: boolean }): OpenmeError {
    const [what, shows] = opened ? ["open", "shows no rule"] : ["close", "still shows a rule"];
    return new OpenmeError(
      "FIREWALL",
      `server.command.${what} succeeded, but list ${shows} for ${key}`,
      { hint: "run both by hand, and compare what list prints with server.command.entry" },
    );
  }

  async #runLine(
    [program, ...args]: readonly string[],
    { changes }: { changes: boolean },
  ): Promise<string> {
    return await runFirewall(this.#run, {
      program: program!,
      args,
      changes,
      timeoutMs: DEADLINE_MS,
      killsChildren: true,
      missingHint: "see server.command in the configuration",
      failingHint: "see whether that command works by itself, as the same user",
    });
  }
}
