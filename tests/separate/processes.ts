/** The programs that these tests start without rights, and where that can be. */

import { fileURLToPath } from "node:url";
import type { StartedProcess } from "../../lib/separate/process.ts";
import { ONE_USER } from "../support/one_user.ts";
import { type ProgramName, testWith } from "../support/programs.ts";

const run = [Deno.execPath(), "run", "--quiet", "--cached-only", "-A"];
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export const DROPPED_PROCESS = [...run, file("dropped_process.ts")];
export const CONFINED_PROCESS = [...run, file("confined_process.ts")];
export const STARTING_PROCESS = [...run, file("starting_process.ts")];
export const PASSING_PROCESS = [...run, file("passing_process.ts")];

/** Registers a test that has something to give up: what only the machine's own root has. */
export function rootTest(
  programs: readonly ProgramName[],
  title: string,
  fn: () => Promise<void>,
): void {
  // libc stays open until this process ends, and another one may be reaped after the test.
  const options = { sanitizeOps: false, sanitizeResources: false };
  const isRoot = Deno.build.os === "linux" && Deno.uid() === 0 && !ONE_USER;
  if (isRoot) testWith(programs, title, fn, options);
  else Deno.test.ignore(`${title} [skipped: needs root]`, fn);
}

/** The next message of a process. */
export async function next({ channel }: StartedProcess): Promise<Record<string, unknown>> {
  const { value, done } = await channel.messages[Symbol.asyncIterator]().next();
  if (done) throw new Error("the process has ended");
  return value as Record<string, unknown>;
}

/** Has a process end. */
export async function end({ channel }: StartedProcess): Promise<void> {
  channel.close();
  await Array.fromAsync(channel.messages);
}
