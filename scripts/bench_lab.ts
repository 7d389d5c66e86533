/** What the bench reads off a lab: what a daemon uses, and when a client gets in. */

import { fileURLToPath } from "node:url";
import { IPV4, type Lab } from "../tests/e2e/lab.ts";
import { within } from "../tests/support/wait.ts";
import type { Probe } from "./bench_prober.ts";

/** Processor seconds of everything in the server's namespace so far, and the memory that it holds now. */
export async function usageOf(lab: Lab): Promise<{ cpuS: number; mb: number }> {
  const { stdout } = await new Deno.Command("ip", {
    args: ["netns", "pids", lab.namespace("server")],
  }).output();
  let [cpuS, mb] = [0, 0];
  for (const pid of new TextDecoder().decode(stdout).split("\n").filter(Boolean)) {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ").map(Number);
    const [user = 0, system = 0, childrensUser = 0, childrensSystem = 0] = fields.slice(11, 15);
    cpuS += (user + system + childrensUser + childrensSystem) / 100;
    mb += (fields[21] ?? 0) * 4096 / 2 ** 20;
  }
  return { cpuS, mb };
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
