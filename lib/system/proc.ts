/** Reads the kernel's files under /proc. Deno needs --allow-all for that, so this runs `cat` (or `proc_reader.ts` does). */

import { messageOf, OpenmeError } from "../values/errors.ts";
import type { RunProgram } from "./run_program.ts";

const DEADLINE_MS = 10_000;

/** The text of a file; "" where it cannot be read, for any reason. */
export async function tryReadProc(path: string, run: RunProgram): Promise<string> {
  return await cat(path, run).catch(() => "");
}

/** The text of a file; `undefined` only where there is no such file. Throws `FIREWALL` for every other failure. */
export async function readProc(path: string, run: RunProgram): Promise<string | undefined> {
  try {
    return await cat(path, run);
  } catch (cause) {
    const message = messageOf(cause);
    if (message.endsWith("No such file or directory")) return undefined;
    throw new OpenmeError("FIREWALL", `cannot tell what this kernel has: ${message}`, {
      cause,
      hint: /permission denied/i.test(message)
        ? "run openme as root"
        : `see whether this works, as the same user: cat ${path}`,
    });
  }
}

function cat(path: string, run: RunProgram): Promise<string> {
  return run({ program: "cat", args: [path], timeoutMs: DEADLINE_MS });
}

/** A process as `/proc/PID/stat` shows it, proc_pid_stat(5). */
export interface ProcessStat {
  /** Such as `S`; `Z` and `X` are dead. */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  /** 0 for none. */
  readonly terminal: number;
  /** The group in the foreground of that terminal. */
  readonly foreground: number;
  /** Clock ticks since the boot, as text. */
  readonly startTicks: string;
}

/** A process; `undefined` where there is none of that number, or no /proc. */
export async function readProcessStat(
  pid: number,
  run: RunProgram,
): Promise<ProcessStat | undefined> {
  const stat = await tryReadProc(`/proc/${pid}/stat`, run);
  // The second field is the program's name in parentheses, and may contain anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 1).trim().split(" ");
  const [state = "", parent, group, , terminal, foreground] = fields;
  const startTicks = fields[19];
  if (startTicks === undefined || !/^\d+$/.test(startTicks)) return undefined;
  return {
    state,
    parent: Number(parent),
    group: Number(group),
    terminal: Number(terminal),
    foreground: Number(foreground),
    startTicks,
  };
}
