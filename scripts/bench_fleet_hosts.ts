/**
 * Some hosts of a fleet in one process, each with connections of its own to a real engine. Those that are knocked at claim,
 * tell, judge and decide as `serve` does, but without a socket for knocks, a disk and a firewall. The others read and open
 * each entry, and leave the two signatures out: a hundred hosts have more processors than the machine that simulates them.
 * Prints when each knock was decided where, as JSON.
 */

import process from "node:process";
import { parseServerConfig } from "../lib/config/server.ts";
import { bytesToHex } from "../lib/crypto/keys.ts";
import { connectEngine } from "../lib/fleet/connection.ts";
import type { EngineAccess } from "../lib/fleet/engine.ts";
import { openEntry } from "../lib/fleet/entry.ts";
import { Fleet } from "../lib/fleet/fleet.ts";
import { fleetSeal } from "../lib/fleet/keys.ts";
import { decide, identify, type SignedKnock } from "../lib/gate.ts";
import { processClock } from "../lib/system/clock.ts";
import { parseAddress } from "../lib/values/address.ts";
import { ALICE, freshRules, knockBy } from "../tests/support/knocks.ts";
import { memoryLog } from "../tests/support/memory_log.ts";
import { serverYaml } from "../tests/support/server_yaml.ts";
import { pause } from "../tests/support/wait.ts";

/** What one process has to do. */
export interface HostsTask {
  readonly url: string;
  readonly hosts: number;
  /** Knocks a second, over all of its hosts. Hosts without knocks only read. */
  readonly perSecond: number;
  readonly forMs: number;
}

/** By the end of the datagram, in hex. All times ms since 1970, with fractions. */
export interface HostsReport {
  /** When a knock arrived at a host of this process, and when that let somebody in. */
  readonly accepted: Record<string, readonly [arrivedMs: number, acceptedMs: number]>;
  /** When the last host of this process decided it, and how many did. */
  readonly decided: Record<string, readonly [lastMs: number, hosts: number]>;
  readonly cpuS: number;
}

const CONNECT_MS = 5000;
const SETTLE_MS = 3000;
const SOURCE = parseAddress("198.51.100.20")!;

function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

function accessOf(url: string, claimant: string): EngineAccess {
  return { name: "bench", url, trust: undefined, claimant, sinceMs: 60_000 };
}

function idOf(datagram: Uint8Array): string {
  return bytesToHex(Uint8Array.from(datagram.subarray(-8)));
}

async function main({ url, hosts, perSecond, forMs }: HostsTask): Promise<HostsReport> {
  const arrived = new Map<string, number>();
  const accepted: Record<string, [number, number]> = {};
  const decided: Record<string, [number, number]> = {};
  const fleetLines = ["fleet:", "  name: bench", `  url: ${url}`];
  const server = parseServerConfig(serverYaml({ server: fleetLines }), "server.yaml");
  const clock = processClock();
  const { log } = memoryLog();
  const end = new AbortController();

  const count = (id: string) => decided[id] = [nowMs(), (decided[id]?.[1] ?? 0) + 1];
  const seal = fleetSeal(server, "bench");

  const reading = (claimant: string) => {
    const tried = Promise.withResolvers<void>();
    const entry = (sealed: string) => {
      const entry = openEntry(sealed, seal);
      if (entry && "knock" in entry) count(idOf(entry.knock));
    };
    const listener = { entry, changed: () => tried.resolve() };
    const engine = connectEngine(accessOf(url, claimant), listener, clock);
    return { engine, tried: tried.promise };
  };

  const judging = (claimant: string) => {
    const parts = { clock, log, host: claimant, claimant, newId: () => crypto.randomUUID() };
    const fleet = new Fleet(server, server.fleet!, parts);
    const rules = freshRules({ clients: [...server.keys.byKey.values()] });
    const sink = fleet.over({
      signed: (knock) => {
        const id = idOf(knock.datagram!);
        if (decide(knock, clock.now().wallNs, rules).kind === "drop") return;
        count(id);
        if (knock.fleet?.from !== undefined) return;
        accepted[id] = [arrived.get(id)!, nowMs()];
        fleet.granted(knock);
      },
      dropped: () => {},
      droppedMore: () => {},
    });
    const engine = connectEngine(accessOf(url, claimant), fleet, clock);
    fleet.use(engine);
    fleet.run(end.signal);
    return { sink, engine, tried: fleet.tried };
  };

  const names = Array.from({ length: hosts }, (_, i) => `${Deno.pid}.${i}`);
  const readers = perSecond > 0 ? [] : names.map(reading);
  const judges = perSecond > 0 ? names.map(judging) : [];
  const all = [...readers, ...judges];
  await Promise.race([Promise.all(all.map(({ tried }) => tried)), pause(CONNECT_MS)]);

  const started = Date.now();
  if (perSecond === 0) await pause(forMs);
  for (let i = 0; Date.now() - started < forMs; i++) {
    const timestampNs = BigInt(Date.now()) * 1_000_000n;
    const randomNonce = crypto.getRandomValues(new Uint8Array(16));
    const datagram = await knockBy(ALICE, { randomNonce, timestampNs });
    const knock = identify(datagram, SOURCE, freshRules()) as SignedKnock;
    arrived.set(idOf(datagram), nowMs());
    judges[i % hosts]!.sink.signed(knock);
    await pause(started + 1000 * (i + 1) / perSecond - Date.now());
  }
  const { user, system } = process.cpuUsage();
  await pause(SETTLE_MS);
  end.abort();
  for (const { engine } of all) engine.close();
  return { accepted, decided, cpuS: (user + system) / 1e6 };
}

if (import.meta.main) {
  const report = await main(JSON.parse(Deno.args[0]!));
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(report)));
  Deno.exit();
}
