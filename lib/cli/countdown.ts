/** The line that counts while `serve --confirm` waits, and whether this process may use the terminal for it. */

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
  try {
    const stat = await run({ program: "cat", args: [`/proc/${Deno.pid}/stat`], timeoutMs: 2000 });
    // proc_pid_stat(5): after the name come state, parent, process group, session, terminal, the terminal's group.
    const [, , group, , terminal, foreground] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { isControlling: terminal !== "0", isWatched: isShown && group === foreground };
  } catch {
    // A system without /proc.
    return { isControlling: isShown || Deno.stdin.isTerminal(), isWatched: isShown };
  }
}
