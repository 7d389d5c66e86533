/** Runs a firewall's own program: whatever is wrong with it is an error of the firewall's, with something to do. */

import { OpenmeError } from "../values/errors.ts";
import type { RunProgram } from "../system/run_program.ts";

/** What to run, and what to say where that is of no use. */
export interface FirewallRun {
  readonly program: string;
  readonly args: readonly string[];
  readonly stdin?: string | undefined;
  readonly timeoutMs: number;
  /** Where the program is not there. */
  readonly missingHint?: string;
  /** Where it fails, and the error says nothing better. */
  readonly failingHint: string;
  /** As in `ProgramRun`. */
  readonly changes?: boolean;
  /** As in `ProgramRun`. */
  readonly killsChildren?: boolean;
}

/** Gives what the program printed; throws `OpenmeError` with code `FIREWALL`. */
export async function runFirewall(
  run: RunProgram,
  { failingHint, stdin, ...program }: FirewallRun,
): Promise<string> {
  try {
    return await run(stdin === undefined ? program : { ...program, stdin });
  } catch (cause) {
    if (!(cause instanceof OpenmeError)) throw cause;
    throw new OpenmeError("FIREWALL", cause.message, { cause, hint: cause.hint ?? failingHint });
  }
}
