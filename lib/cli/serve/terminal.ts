/** The terminal of `serve`: whether there is one, whether a person watches it, and what SIGHUP means. */

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
 * From now on SIGHUP does not end the process. Started on a terminal, it means that the terminal was closed, and is
 * ignored; otherwise it asks for a reload, which calls what was last given to the function returned.
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
