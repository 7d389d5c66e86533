/** How `serve` stands to a terminal: whether a person watches it there, and what its end says. */

import { readProcessStat } from "../../system/proc.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { Log } from "../../system/log.ts";

/** How this process stands to a terminal. */
export interface Terminal {
  /** Whether its session has one: when that is closed, the process gets SIGHUP. */
  readonly isControlling: boolean;
  /** Whether it is in the foreground there, and a person sees standard error on it. */
  readonly isWatched: boolean;
}

/** Looks at the terminal of this process. */
export async function lookAtTerminal(run: RunProgram): Promise<Terminal> {
  const isShown = Deno.stderr.isTerminal();
  const stat = await readProcessStat(Deno.pid, run);
  // A system without /proc.
  if (!stat) return { isControlling: isShown || Deno.stdin.isTerminal(), isWatched: isShown };
  const { terminal, group, foreground } = stat;
  return { isControlling: terminal !== 0, isWatched: isShown && group === foreground };
}

/**
 * From now on SIGHUP does not end the process. Where it was started on a terminal, the signal says that the terminal was
 * closed, and is ignored; else it asks to read the configuration again, which what is returned does once it is known how.
 */
export function listenForHangup(isOnTerminal: boolean, log: Log): (read: () => void) => void {
  let reread = () => {};
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGHUP", () => {
      if (isOnTerminal) log.warn("hangup", { why: "the terminal was closed", doing: "going on" });
      else reread();
    });
  }
  return (read) => reread = read;
}
