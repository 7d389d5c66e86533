/**
 * Cuts established connections. `ss -K` ends those of this host's own sockets, on both sides. Forwarded ones, as to
 * containers, are deleted from connection tracking, so that the guard meets them as new. That is not enough for own
 * sockets: the server's next packet makes a new entry.
 *
 * `ss -K` exits 0 also where the kernel cannot end a socket, so the connections are listed again afterwards. A failure
 * does not stop the rest.
 */

import { formatAddress } from "../../values/address.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { formatPortRange } from "../../values/ports.ts";
import { readProc } from "../../system/proc.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { type Connection, establishedConnections } from "./sockets.ts";
import { deleteFlow, type Flow, isWanted, listFlows, type Place, portsByPlace } from "./flows.ts";

/** The outcome, as it goes over the control socket and into `--json`. */
export interface Cut {
  /** How many have ended. */
  readonly connections: number;
  readonly left: readonly LeftConnection[];
  /** Programs that are not installed. */
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
/** After so long no further program is started: the user waits for the outcome. */
const ALL_MS = 10_000;

/**
 * Cuts every established connection from these places. Call it when the firewall no longer lets them in. `failures` says
 * what could not be listed or cut: then more connections may be left than `left` names.
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
  // Entries of sockets that were just ended are closed, and not listed.
  const flows = await lookAtFlows();
  // conntrack fails for an entry that has just ended by itself; entries that are left are found below.
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

/** One filter for `ss` for each remote address and own port. It wants IPv6 in brackets. */
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
    return true; // its own run will fail with the reason
  }
}
