/**
 * Which address families this host has. A guard that takes a look that failed for "no IPv6" leaves every port open over
 * IPv6: only a file that is not there means that.
 */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import type { RunProgram } from "../../system/run_program.ts";

export type Family = 4 | 6;

const DEADLINE_MS = 2000;

/** IPv4, and IPv6 where the kernel has it. Throws `FIREWALL` where that cannot be told. */
export async function hostFamilies(run: RunProgram): Promise<readonly Family[]> {
  return await readProc("/proc/net/if_inet6", run) === undefined ? [4] : [4, 6];
}

/** The text of a file of the kernel's; `undefined` where there is no such file. Throws where that cannot be told. */
export async function readProc(path: string, run: RunProgram): Promise<string | undefined> {
  try {
    // Deno reads nothing under /proc without every permission there is; cat has no such scruples.
    return await run({ program: "cat", args: [path], timeoutMs: DEADLINE_MS });
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
