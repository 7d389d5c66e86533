/**
 * Cuts connections that are established: those of this host's own sockets with `ss -K`, which ends both sides, and those
 * that are forwarded, to containers for example, by taking them out of connection tracking, where the guard then meets
 * them as new. Connection tracking alone would not do for own sockets: what the server sends next puts an entry back.
 *
 * No program's word is taken for it: `ss -K` exits 0 where the kernel cannot end a socket. What is there afterwards is
 * told. No failure keeps the rest from being done.
 */

import { formatAddress } from "../../values/address.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { formatPortRange } from "../../values/ports.ts";
import { readProc } from "../../system/proc.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { type Connection, establishedConnections } from "./sockets.ts";
import { deleteFlow, type Flow, isWanted, listFlows, type Place, portsByPlace } from "./flows.ts";

/** What became of the connections; goes over the control socket, and into `--json`, as it is. */
export interface Cut {
  /** How many are gone. */
  readonly connections: number;
  /** Those that are still there. */
  readonly left: readonly LeftConnection[];
  /** Programs that were not there. */
  readonly missing: readonly string[];
}

/** A connection that is still there. */
export interface LeftConnection {
  readonly address: string;
  readonly "source_port": number;
  /** The one port that it was let in to. */
  readonly ports: readonly string[];
}

const DEADLINE_MS = 5000;
/** After so long no further program is started: somebody waits to be told. */
const ALL_MS = 10_000;

/**
 * Cuts every established connection from these places. Call it when the firewall no longer lets them in. `failures` are
 * what could not be looked at or done, in words: there may be connections that nobody has seen.
 */
export async function cutConnections(
  places: readonly Place[],
  run: RunProgram,
): Promise<Cut & { readonly failures: readonly string[] }> {
  const [hasSs, hasConntrack] = await Promise.all([
    isThere(run, "ss", "-V"),
    isThere(run, "conntrack", "--version"),
  ]);
  const startMs = performance.now();
  const failures = new Set<string>();
  const attempt = async <T>(work: () => Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      failures.add(messageOf(error));
      return otherwise;
    }
  };
  const attemptEach = async <T>(each: readonly T[], work: (one: T) => Promise<unknown>) => {
    for (const one of each) {
      if (performance.now() - startMs > ALL_MS) {
        return void failures.add(`not everything was done within ${ALL_MS / 1000} s`);
      }
      await attempt(() => work(one), undefined);
    }
  };

  const wanted = portsByPlace(places);
  const ports = places.flatMap((place) => place.ports);
  const lookAtSockets = async () =>
    (await attempt(() => establishedConnections(ports, run, readProc), []))
      .filter((each) => isWanted(wanted, each.remote, "tcp", each.localPort));
  const lookAtFlows = () => attempt(() => listFlows(wanted, { run, hasConntrack }), []);

  const sockets = await lookAtSockets();
  if (hasSs) {
    await attemptEach(
      filtersOf(sockets),
      (filter) =>
        run({ program: "ss", args: ["-K", "-H", "-t", "-n", ...filter], timeoutMs: DEADLINE_MS }),
    );
  }
  // What of them was a socket's is closed there by now, and no entry to be cut.
  const flows = await lookAtFlows();
  // One that has just ended by itself is an error of conntrack's; what is still there is seen below.
  if (hasConntrack) await attemptEach(flows, (flow) => deleteFlow(flow, run).catch(() => {}));
  const found = new Set([...sockets.map(endsOf), ...flows].map(nameOf));
  const left = new Map<string, LeftConnection>();
  if (found.size > 0) {
    const still = [...(await lookAtSockets()).map(endsOf), ...await lookAtFlows()];
    for (const each of still) left.set(nameOf(each), describe(each));
  }
  return {
    connections: [...found].filter((name) => !left.has(name)).length,
    left: [...left.values()],
    missing: [...(hasSs ? [] : ["ss"]), ...(hasConntrack ? [] : ["conntrack"])],
    failures: [...failures],
  };
}

/** What `ss` is to end: for each remote address and own port one filter. It wants IPv6 in brackets. */
function filtersOf(sockets: readonly Connection[]): string[][] {
  const filters = new Map(sockets.map(({ remote, localPort }) => {
    const text = formatAddress(remote);
    const address = remote.family === 6 ? `[${text}]` : text;
    return [`${address} ${localPort}`, ["dst", address, "sport", "=", `:${localPort}`]];
  }));
  return [...filters.values()];
}

/** What a socket and its entry in connection tracking have in common: they are one connection. */
type Ends = Pick<Flow, "protocol" | "remote" | "remotePort" | "port">;

function endsOf({ remote, remotePort, localPort }: Connection): Ends {
  return { protocol: "tcp", remote, remotePort, port: localPort };
}

function nameOf({ protocol, remote, remotePort, port }: Ends): string {
  return `${protocol} ${formatAddress(remote)} ${remotePort} ${port}`;
}

function describe({ protocol, remote, remotePort, port }: Ends): LeftConnection {
  return {
    address: formatAddress(remote),
    "source_port": remotePort,
    ports: [formatPortRange({ protocol, first: port, last: port })],
  };
}

async function isThere(run: RunProgram, program: string, versionFlag: string): Promise<boolean> {
  try {
    await run({ program, args: [versionFlag], timeoutMs: DEADLINE_MS });
    return true;
  } catch (error) {
    if (error instanceof OpenmeError && error.message.includes("there is no such program")) {
      return false;
    }
    return true; // there, and it will say itself what is wrong
  }
}
