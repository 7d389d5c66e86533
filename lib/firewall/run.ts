/** Runs a firewall's own programs: a failure is an error of the firewall's with a hint, and leaves out no other run. */

import { messageOf, OpenmeError } from "../values/errors.ts";
import type { ProgramRun, RunProgram } from "../system/run_program.ts";

/** A run of a firewall's program. */
export interface FirewallRun extends Omit<ProgramRun, "stdin"> {
  readonly stdin?: string | undefined;
  /** The hint where it fails, and the error has none. */
  readonly failingHint: string;
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

/** Waits until all have ended, then throws what one of them threw: a repair must not be overtaken by the rest. */
export async function allEnded(runs: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(runs)).find(({ status }) => status === "rejected");
  if (failed) throw (failed as PromiseRejectedResult).reason;
}

/** Runs one after the other, also after a failure. Throws at the end, with every failure in the message. */
export async function allInTurn(steps: readonly (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((error) => failures.push(error));
  if (failures.length === 0) return;
  const [first] = failures;
  if (failures.length === 1 || !(first instanceof OpenmeError)) throw first;
  throw new OpenmeError(first.code, [...new Set(failures.map(messageOf))].join("; "), {
    cause: first,
    ...(first.hint ? { hint: first.hint } : {}),
  });
}
