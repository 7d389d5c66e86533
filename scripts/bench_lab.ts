/** What the bench reads off a lab: what a daemon uses, and when a client gets in. */

import { fileURLToPath } from "node:url";
import { IPV4, type Lab, runToEnd } from "../tests/e2e/lab.ts";
import { within } from "../tests/support/wait.ts";
import type { Probe } from "./bench_prober.ts";

/** What the processes in the server's namespace have used: their own processor time and that of children that ended. */
export interface Usage {
  /** Seconds of processor time so far. */
  readonly cpuS: number;
  /** Memory held now, MB: a page that several processes share counts once (Pss, proc_pid_smaps(5)). */
  readonly mb: number;
}

/** The {@linkcode Usage} of everything in the server's namespace. */
export async function usageOf(lab: Lab): Promise<Usage> {
  let [cpuS, mb] = [0, 0];
  for (const pid of await pidsOf(lab)) {
    const read = (file: string) => Deno.readTextFile(`/proc/${pid}/${file}`).catch(() => "");
    const [stat, sizes] = [await read("stat"), await read("smaps_rollup")];
    // user, system, and both of the children that ended, in ticks (proc(5)); the name before may contain spaces.
    const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 15).map(Number);
    cpuS += ticks.reduce((sum, each) => sum + each, 0) / 100;
    mb += Number(/^Pss:\s+(\d+) kB/m.exec(sizes)?.[1] ?? 0) / 1024;
  }
  return { cpuS, mb };
}

async function pidsOf(lab: Lab): Promise<string[]> {
  const { stdout } = await runToEnd("ip", ["netns", "pids", lab.namespace("server")]);
  return stdout.split("\n").filter(Boolean);
}

/** Processor seconds, and the most memory in MB, of everything in the server's namespace while `work` ran. */
export async function usageDuring<T>(
  lab: Lab,
  work: () => Promise<T>,
): Promise<{ readonly done: T; readonly cpuS: number; readonly peakMb: number }> {
  const before = await usageOf(lab);
  const running = work();
  const ended = running.then(() => true, () => true);
  let peakMb = before.mb;
  while (!await within(ended, 200, false)) peakMb = Math.max(peakMb, (await usageOf(lab)).mb);
  const after = await usageOf(lab);
  return {
    done: await running,
    cpuS: after.cpuS - before.cpuS,
    peakMb: Math.max(peakMb, after.mb),
  };
}

/** How long it takes until port 22 lets the client in, ms; `NaN` where it does not. */
export async function timeToOpen(lab: Lab, how: Omit<Probe, "host" | "port">): Promise<number> {
  const probe: Probe = { host: IPV4.server, port: 22, ...how };
  const script = fileURLToPath(new URL("./bench_prober.ts", import.meta.url));
  const run = lab.run("client", [
    ...[Deno.execPath(), "run", "--no-config", "--no-lock", "--unstable-net", "-A", script],
    JSON.stringify(probe),
  ]);
  return Number(await within(run, 15_000, "NaN"));
}

/** `p50 | p95` of what came about, with a remark where something did not. */
export function percentiles(times: readonly number[]): string {
  const good = times.filter(Number.isFinite).sort((a, b) => a - b);
  const at = (share: number) => (good[Math.round(share * (good.length - 1))] ?? NaN).toFixed(1);
  const missed = times.length - good.length;
  return `${at(0.5)} | ${at(0.95)}${missed ? ` (${missed} never)` : ""}`;
}
