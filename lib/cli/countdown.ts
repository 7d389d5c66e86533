/** The line that counts while `serve --confirm` waits, and whether this process may use the terminal for it. */

import { readProcessStat } from "../system/proc.ts";
import type { RunProgram } from "../system/run_program.ts";

/** One line of a terminal. */
export function formatCountdown(leftMs: number): string {
  const seconds = Math.max(0, Math.ceil(leftMs / 1000));
  const left = seconds < 100 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
  const text = `openme: all is put back in ${left}; if you can still get in: openme confirm`;
  return text.slice(0, terminalWidth() - 1); // a wrapped line cannot be written over
}

function terminalWidth(): number {
  try {
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}

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
