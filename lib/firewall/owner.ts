/**
 * Names a process for as long as the machine is up. A table in the kernel outlives its process, and the next process has
 * to know whether the owner lives.
 */

import { LivingOwnerError } from "./backend.ts";
import { readProcessStat } from "../system/proc.ts";
import type { ProgramRun, RunProgram } from "../system/run_program.ts";

/** A process: its number, which is used again, and when it was started, which is not. */
export interface ProcessName {
  readonly pid: number;
  /** Clock ticks since the boot, from proc_pid_stat(5). */
  readonly startTicks: string;
}

/** The name of a living process; `undefined` where there is none of that number, a zombie, or no /proc. */
export async function nameProcess(pid: number, run: RunProgram): Promise<ProcessName | undefined> {
  const stat = await readProcessStat(pid, run);
  // Dead, though its number lasts until its parent asks: in a container that may be never.
  return !stat || /[ZXx]/.test(stat.state) ? undefined : { pid, startTicks: stat.startTicks };
}

/** Whether this run is how {@linkcode nameProcess} asks. */
export function isOwnerQuestion({ program, args }: ProgramRun): boolean {
  return program === "cat" && args.some((each) => /^\/proc\/\d+\/stat$/.test(each));
}

/** Whether that very process lives, and is not this one. */
export async function isAnotherLiving(
  owner: ProcessName | undefined,
  run: RunProgram,
): Promise<boolean> {
  if (!owner || owner.pid === Deno.pid) return false;
  const living = await nameProcess(owner.pid, run);
  return living?.startTicks === owner.startTicks;
}

/** Throws {@linkcode LivingOwnerError} where the owner is another process that lives. */
export async function requireNoLivingOwner(
  owner: ProcessName | undefined,
  run: RunProgram,
): Promise<void> {
  if (!owner || !await isAnotherLiving(owner, run)) return;
  throw new LivingOwnerError(
    "FIREWALL",
    `another openme serve, process ${owner.pid}, guards this host`,
    {
      hint: "stop that one first, or add these ports and clients to its configuration",
    },
  );
}
