/**
 * The machine's clocks, and waiting. On Linux the steady clock counts from the boot and the boot has a name, so that what was stored
 * before a restart can be measured on the same line after it.
 */

import type { Clock } from "../values/moment.ts";
import { tryReadProc } from "./proc.ts";
import type { RunProgram } from "./run_program.ts";

/** A clock of this process only: enough for a command that runs once. */
export function processClock(): Clock {
  return { now: () => ({ wallNs: wallNs(), steadyMs: performance.now() }), bootId: undefined };
}

/** The clock of this boot; {@linkcode processClock} where the system does not tell. */
export async function bootClock(run: RunProgram): Promise<Clock> {
  const paths = ["/proc/sys/kernel/random/boot_id", "/proc/uptime"];
  const [bootId, uptime] = await Promise.all(paths.map((path) => tryReadProc(path, run)));
  const uptimeMs = parseFloat(uptime!) * 1000;
  if (!bootId || !Number.isFinite(uptimeMs)) return processClock();
  const startMs = uptimeMs - performance.now();
  return {
    now: () => ({ wallNs: wallNs(), steadyMs: startMs + performance.now() }),
    bootId: bootId.trim(),
  };
}

function wallNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** Waits so many ms; resolves at once where `signal` aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (ms <= 0 || signal?.aborted) return resolve(); // the runtime warns of a negative time
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}
