/**
 * What a fleet costs: how much later three real hosts are open than one alone, and how long after a host has accepted a
 * knock the last of a hundred has decided it, with the engine's processor time, memory and traffic. As root.
 */

import { fileURLToPath } from "node:url";
import { labMissing } from "../tests/e2e/e2e.ts";
import { RedisServer } from "../tests/e2e/fleet_engine.ts";
import { FleetHosts, type Host, HOSTS } from "../tests/e2e/fleet_hosts.ts";
import { FLEET_SIDES, IPV4, Lab } from "../tests/e2e/lab.ts";
import { memoryOf } from "../tests/e2e/processes.ts";
import { lacks } from "../tests/support/programs.ts";
import { pause, waitFor } from "../tests/support/wait.ts";
import type { HostsReport, HostsTask } from "./bench_fleet_hosts.ts";
import { print } from "./run.ts";

const MOST_LAST_MS = 100;
const KNOCKS = 40;
const APART_MS = 100;
const SIMULATED = 100;
/** Processes; the hosts of the first one are knocked at, and judge. */
const HOSTS_OF_PROCESSES = [4, 32, 32, 32];
const PER_SECOND = 50;
const FOR_MS = 30_000;
/** Until V8 has compiled what runs. Knocks before are not counted. */
const WARM_MS = 5_000;

async function measure(): Promise<boolean> {
  const missing = await labMissing() ?? lacks("redis-server", "redis-cli");
  if (missing !== undefined) {
    print(`fleet: not measured, ${missing}`);
    return true;
  }
  await using lab = await Lab.create(FLEET_SIDES);
  await using engine = new RedisServer(lab, "swordfish");
  await engine.start();
  const medianMs = await openingTimes(lab, engine);
  await simulated(lab, engine);
  return medianMs <= MOST_LAST_MS;
}

/** Gives the median until the last of three has its rule and has logged that. */
async function openingTimes(lab: Lab, engine: RedisServer): Promise<number> {
  await using fleet = await FleetHosts.create(lab, { url: engine.url() });
  const { server } = fleet.sites;
  const alone = await server.sibling({ server: [] });
  const served = await alone.serve();
  const single = fleet.fresh();
  const one = await times(async () => {
    const count = () => served.lines.filter((line) => line.includes(` client=${single.name} `));
    const before = count().length;
    await fleet.client.send(await fleet.seal(single), IPV4.server, 54154);
    return () => count().length > before;
  });
  const aloneMb = await memoryOf(lab, "server");
  await alone[Symbol.asyncDispose]();
  await fleet.serve(["server"]);
  const fresh = fleet.fresh();
  const until = (hosts: readonly Host[]) =>
    times(async () => {
      const before = hosts.map((host) => fleet.letIn(fresh, host).length);
      await fleet.send(await fleet.seal(fresh), "server");
      return () => hosts.every((host, i) => fleet.letIn(fresh, host).length > before[i]!);
    });
  const claimed = await until(["server"]);
  await fleet.serve(["second", "third"]);
  const own = await until(["server"]);
  const last = await until(HOSTS);
  const mb = await memoryOf(lab, "server");
  await fleet.stop();
  print(`| ms from datagram to rule, ${KNOCKS} knocks | p50 | p95 |`);
  print("| :-- | --: | --: |");
  print(`| one host without a fleet | ${row(one)} |`);
  print(`| the only host of a fleet | ${row(claimed)} |`);
  print(`| the host of three that was knocked at | ${row(own)} |`);
  print(`| the last of the three | ${row(last)} |`);
  print(
    `memory (Pss, all processes): ${mb.toFixed(1)} MB, without a fleet ${aloneMb.toFixed(1)} MB`,
  );
  return percentile(last, 0.5);
}

/** How long it takes, ms, from when something was sent until it has come about; so many times. */
async function times(begin: () => Promise<() => boolean>): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < KNOCKS; i++) {
    const hasHappened = await begin();
    const startMs = performance.now();
    await waitFor("the rule", hasHappened, { everyMs: 1 });
    found.push(performance.now() - startMs);
    await pause(APART_MS);
  }
  return found;
}

async function simulated(lab: Lab, engine: RedisServer): Promise<void> {
  await engine.command("FLUSHALL");
  const before = await usage(engine);
  const startMs = performance.now();
  const reports = await Promise.all(HOSTS_OF_PROCESSES.map(async (hosts, i) => {
    const task: HostsTask = {
      url: engine.url(),
      hosts,
      perSecond: i === 0 ? PER_SECOND : 0,
      forMs: FOR_MS,
    };
    const script = fileURLToPath(new URL("./bench_fleet_hosts.ts", import.meta.url));
    const flags = ["--quiet", "--no-check", "-A"];
    const command = [Deno.execPath(), "run", ...flags, script, JSON.stringify(task)];
    return JSON.parse(await lab.run("client", command)) as HostsReport;
  }));
  const seconds = (performance.now() - startMs) / 1000;
  const after = await usage(engine);
  const claims: number[] = [];
  const lags: number[] = [];
  let decisions = 0;
  const knocks = reports.flatMap(({ accepted }) => Object.entries(accepted));
  const firstMs = Math.min(...knocks.map(([, [arrivedMs]]) => arrivedMs));
  for (const [id, [arrivedMs, acceptedMs]] of knocks) {
    if (arrivedMs - firstMs < WARM_MS) continue;
    claims.push(acceptedMs - arrivedMs);
    const all = reports.flatMap(({ decided }) => decided[id] ? [decided[id]] : []);
    const hosts = all.reduce((sum, [, each]) => sum + each, 0);
    decisions += hosts;
    if (hosts === SIMULATED) lags.push(Math.max(...all.map(([ms]) => ms)) - acceptedMs);
  }
  print("");
  print(`${SIMULATED} hosts, ${PER_SECOND} knocks a second for ${FOR_MS / 1000} s:`);
  print(`knocks accepted: ${claims.length}, decided by every host: ${lags.length}`);
  print(`decisions: ${decisions} of ${claims.length * SIMULATED}`);
  print(`from arrival to acceptance, with the claim, ms: ${percentiles(claims)}`);
  print(`accepted at one to decided at the last, ms: ${percentiles(lags)}`);
  const perHost = reports.map(({ cpuS }, i) =>
    (100 * cpuS / HOSTS_OF_PROCESSES[i]! / (FOR_MS / 1000)).toFixed(1)
  );
  print(
    `a host's share of a core: ${perHost[0]} % where it judges and is knocked at, ${
      perHost[1]
    } % where it only reads`,
  );
  print(
    `engine: ${(100 * (after.cpuS - before.cpuS) / seconds).toFixed(1)} % of a core, ${
      ((after.outBytes - before.outBytes) / seconds / 1e6).toFixed(2)
    } MB/s out, ${((after.inBytes - before.inBytes) / seconds / 1e6).toFixed(2)} MB/s in, ${
      (after.memoryBytes / 1e6).toFixed(1)
    } MB`,
  );
}

async function usage(engine: RedisServer) {
  const lines = await engine.command("INFO", "everything");
  const number = (name: string) =>
    Number(lines.find((line) => line.startsWith(`${name}:`))?.split(":")[1]);
  return {
    cpuS: number("used_cpu_sys") + number("used_cpu_user"),
    inBytes: number("total_net_input_bytes"),
    outBytes: number("total_net_output_bytes"),
    memoryBytes: number("used_memory"),
  };
}

function percentile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.round(share * (values.length - 1))] ?? NaN;
}

function percentiles(values: readonly number[]): string {
  const at = (share: number) => percentile(values, share).toFixed(1);
  return `p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}`;
}

function row(values: readonly number[]): string {
  return [0.5, 0.95].map((share) => percentile(values, share).toFixed(1)).join(" | ");
}

if (import.meta.main) Deno.exit(await measure() ? 0 : 1);
