/** What a configuration asks for and this host has not: an interface, a free health port; and what it opens to others. */

import { nearest } from "../config/fields.ts";
import { formatMetricsAddress } from "../config/metrics.ts";
import type { ServerConfig } from "../config/server.ts";
import { controlPath } from "../control/socket.ts";
import { parseListening, TCP_TABLES } from "../firewall/host/sockets.ts";
import { includesPortRanges } from "../values/ports.ts";
import { tryReadProc } from "../system/proc.ts";
import type { RunProgram } from "../system/run_program.ts";

/** One thing that does not fit, and what to do. */
export interface Misfit {
  readonly why: string;
  readonly hint: string;
}

/** Looks at the host, through `cat` for /proc (`system/proc.ts`). */
export async function misfitsOf(config: ServerConfig, run: RunProgram): Promise<Misfit[]> {
  const found = await Promise.all([missingInterface(config, run), takenHealthPort(config, run)]);
  return [...found, exposedMetrics(config)].filter((each) => each !== undefined);
}

/** Metrics tell who can reach them how many knocks come and how many are let in. */
function exposedMetrics(
  { metrics, dropPorts, guardedPorts }: ServerConfig,
): Misfit | undefined {
  if (metrics?.transport !== "tcp") return undefined;
  const { hostname, port } = metrics;
  const range = { protocol: "tcp", first: port, last: port } as const;
  const isGuarded = dropPorts && includesPortRanges(guardedPorts, [range]);
  if (hostname.startsWith("127.") || hostname === "::1" || isGuarded) return undefined;
  return {
    why: `server.metrics: anyone who reaches ${formatMetricsAddress(metrics)} can read it`,
    hint: `listen on 127.0.0.1, or guard ${port}/tcp by a group in ports, with drop_ports: true`,
  };
}

/** The interface that is to be guarded may come up later; one whose name is misspelt never does. */
export async function missingInterface(
  { interface: name }: Pick<ServerConfig, "interface">,
  run: RunProgram,
): Promise<Misfit | undefined> {
  if (name === undefined) return undefined;
  const table = await tryReadProc("/proc/net/dev", run);
  const names = [...table.matchAll(/^ *([^\s:|]+):/gm)].map(([, each]) => each!);
  if (names.length === 0 || names.includes(name)) return undefined;
  const similar = nearest(name, names);
  return {
    why: `server.interface: there is no interface ${name} on this host, ` +
      "and nothing is guarded until there is one of that name",
    hint: similar ? `did you mean ${similar}?` : `the interfaces here are ${names.join(", ")}`,
  };
}

/** Not asked while openme serve runs: it opens the port itself while there are grants, and logs where it cannot. */
async function takenHealthPort(
  { clients, healthPort, stateDir }: ServerConfig,
  run: RunProgram,
): Promise<Misfit | undefined> {
  const health = [{ protocol: "tcp", first: healthPort, last: healthPort }] as const;
  const isWanted = clients.length === 0 ||
    clients.some(({ ports }) => includesPortRanges(ports, health));
  if (!isWanted) return undefined;
  const tables = await Promise.all(TCP_TABLES.map((path) => tryReadProc(path, run)));
  const taken = tables.some((text) =>
    parseListening(text, "0A", { loopback: true }).includes(healthPort)
  );
  if (!taken) return undefined;
  const isServing = (await tryReadProc("/proc/net/unix", run)).includes(
    ` ${controlPath(stateDir)}\n`,
  );
  if (isServing) return undefined;
  return {
    why: `server.health_port: another program listens on ${healthPort}/tcp, ` +
      "so openme status and knock --check will get no answer",
    hint: `see which: ss -ltnp sport = :${healthPort}; then stop it, or name another health_port`,
  };
}
