/**
 * The machine's clocks. On Linux the steady clock counts from the boot and the boot has a name, so that what was stored
 * before a restart can be measured on the same line after it.
 */

import type { Clock } from "../values/moment.ts";
import type { RunProgram } from "./run_program.ts";

/** A clock of this process only: enough for whoever runs once. */
export function processClock(): Clock {
  return { now: () => ({ wallNs: wallNs(), steadyMs: performance.now() }), bootId: undefined };
}

/** The clock of this boot; {@linkcode processClock} where the system does not tell. */
export async function bootClock(run: RunProgram): Promise<Clock> {
  let text: string;
  try {
    // Deno reads nothing under /proc without every permission there is; cat has no such scruples.
    text = await run({
      program: "cat",
      args: ["/proc/sys/kernel/random/boot_id", "/proc/uptime"],
      timeoutMs: 2000,
    });
  } catch {
    return processClock();
  }
  const [bootId, uptime] = text.split("\n");
  const uptimeMs = parseFloat(uptime ?? "") * 1000;
  if (!bootId || !Number.isFinite(uptimeMs)) return processClock();
  const startMs = uptimeMs - performance.now();
  return { now: () => ({ wallNs: wallNs(), steadyMs: startMs + performance.now() }), bootId };
}

function wallNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
