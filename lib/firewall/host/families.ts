/**
 * Which address families this host has. A guard that takes a look that failed for "no IPv6" leaves every port open over
 * IPv6: only a file that is not there means that.
 */

import { readProc } from "../../system/proc.ts";
import type { RunProgram } from "../../system/run_program.ts";

export type Family = 4 | 6;

/** As nft and /proc name a family. */
export function familyName(family: Family): "ip" | "ip6" {
  return family === 4 ? "ip" : "ip6";
}

/** IPv4, and IPv6 where the kernel has it. Throws `FIREWALL` where that cannot be told. */
export async function hostFamilies(run: RunProgram): Promise<readonly Family[]> {
  return await readProc("/proc/net/if_inet6", run) === undefined ? [4] : [4, 6];
}
