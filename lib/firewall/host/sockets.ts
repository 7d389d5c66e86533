/**
 * The sockets of this host, from the kernel's tables (proc_net_tcp.txt): established connections, which a guard must not
 * freeze, and listening ports. Where connection tracking was idle, a new guard meets running sessions as `new`, so it
 * lets them through by their addresses and ports.
 */

import { type Address, addressFromBytes16, formatAddress } from "../../values/address.ts";
import { mergePortRanges, type PortRange, type Protocol } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { type readProc, tryReadProc } from "../../system/proc.ts";

/** One established TCP connection of this host. */
export interface Connection {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  readonly remotePort: number;
}

/** Where Linux lists its TCP sockets. A kernel without IPv6 has no `tcp6`. */
export const TCP_TABLES = ["/proc/net/tcp", "/proc/net/tcp6"] as const;

/** States in which the other side may still send: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT. */
const LIVE_STATES = new Set(["01", "04", "05", "08"]);

/** A line: its number, local and remote end, state. Read in one go: a busy host has thousands, every few seconds. */
const LINE = /^ *\d+: ([0-9A-F]{8}(?:[0-9A-F]{24})?:([0-9A-F]{4})) ([0-9A-F:]+) ([0-9A-F]{2}) /gm;

/**
 * Reads the text of `/proc/net/tcp` or `/proc/net/tcp6`; lines that are not connections, or not to a wanted local port,
 * are passed over.
 */
export function parseSocketTable(
  text: string,
  isWanted: (localPort: number) => boolean = () => true,
): Connection[] {
  const connections: Connection[] = [];
  for (const [, local, localPort = "", remote, state = ""] of text.matchAll(LINE)) {
    if (!LIVE_STATES.has(state) || !isWanted(parseInt(localPort, 16))) continue;
    const here = parseEndpoint(local);
    const there = parseEndpoint(remote);
    if (!here || !there || here.address.family !== there.address.family) continue;
    connections.push({
      local: here.address,
      localPort: here.port,
      remote: there.address,
      remotePort: there.port,
    });
  }
  return connections;
}

/**
 * The established connections to the given ports, from this host's network namespace. None where the system does not
 * tell; with `readProc` that is an error.
 */
export async function establishedConnections(
  ports: readonly PortRange[],
  run: RunProgram,
  read: typeof readProc = tryReadProc,
): Promise<Connection[]> {
  const tables = await Promise.all(TCP_TABLES.map((path) => read(path, run)));
  return tables.flatMap((text) => parseSocketTable(text ?? "", (port) => isTo(ports, port)));
}

/**
 * The connections to guarded ports that go on when a guard is installed: at first all of them, later those that were seen
 * while the guard stood. A connection that was made while the guard was flushed away does not go on.
 */
export class SeenConnections {
  readonly #run: RunProgram;
  #seen: ReadonlySet<string> | undefined;
  /** Guarded only from the next install on, at which all connections to them go on. */
  #newPorts: readonly PortRange[] = [];

  constructor(run: RunProgram) {
    this.#run = run;
  }

  /** These ports are guarded from the next install on. */
  addPorts(ports: readonly PortRange[]): void {
    this.#newPorts = [...this.#newPorts, ...ports];
  }

  /** Call it while the guard stands: every connection of now goes on at the next install. */
  async look(guarded: readonly PortRange[]): Promise<void> {
    this.#seen = namesOf(await establishedConnections(guarded, this.#run));
  }

  /** The connections that go on at an install. Call `areInstalled` once the guard stands. */
  async lookBefore(guarded: readonly PortRange[]) {
    const all = await establishedConnections(guarded, this.#run);
    const newPorts = this.#newPorts;
    return {
      connections: all.filter((each) =>
        !this.#seen || this.#seen.has(nameOf(each)) || isTo(newPorts, each.localPort)
      ),
      areInstalled: () => {
        this.#seen = namesOf(all);
        if (this.#newPorts === newPorts) this.#newPorts = [];
      },
    };
  }
}

function namesOf(connections: readonly Connection[]): ReadonlySet<string> {
  return new Set(connections.map(nameOf));
}

function nameOf({ local, localPort, remote, remotePort }: Connection): string {
  return `${formatAddress(remote)} ${remotePort} ${formatAddress(local)} ${localPort}`;
}

function isTo(ports: readonly PortRange[], localPort: number): boolean {
  return ports.some(({ protocol, first, last }) =>
    protocol === "tcp" && first <= localPort && localPort <= last
  );
}

/** `0100007F:0016`: words of 32 bits in the byte order of the machine (little-endian, wherever Deno runs). */
export function parseEndpoint(
  text: string | undefined,
): { address: Address; port: number } | undefined {
  const match = /^((?:[0-9A-F]{8})|(?:[0-9A-F]{32})):([0-9A-F]{4})$/.exec(text ?? "");
  if (!match) return undefined;
  // By words, not by bytes: a busy host has 50,000 of these.
  const hex = match[1]!;
  const bytes = new Uint8Array(hex.length / 2);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += 4) {
    view.setUint32(at, parseInt(hex.slice(2 * at, 2 * at + 8), 16), true);
  }
  const address: Address = bytes.length === 4 ? { family: 4, bytes } : addressFromBytes16(bytes);
  return { address, port: parseInt(match[2]!, 16) };
}

/** The tables of sockets that take what comes, and the state in which they do. */
export const LISTENING: readonly { path: string; protocol: Protocol; state: string }[] = [
  ...TCP_TABLES.map((path) => ({ path, protocol: "tcp" as const, state: "0A" })), // TCP_LISTEN
  { path: "/proc/net/udp", protocol: "udp", state: "07" }, // bound, not connected
  { path: "/proc/net/udp6", protocol: "udp", state: "07" },
];

/**
 * The ports on which sockets listen (TCP) or are bound (UDP), on anything but the loopback. Neighbours are joined. None
 * where the system does not tell.
 */
export async function listeningPorts(run: RunProgram): Promise<PortRange[]> {
  const found = await Promise.all(LISTENING.map(async ({ path, protocol, state }) => {
    const text = await tryReadProc(path, run);
    return parseListening(text, state).map((port) => ({ protocol, first: port, last: port }));
  }));
  return mergePortRanges(found.flat());
}

/** The local ports of the sockets in this state; those of the loopback only where they are asked for. */
export function parseListening(
  text: string,
  state: string,
  { loopback = false }: { loopback?: boolean } = {},
): number[] {
  return text.split("\n").flatMap((line) => {
    const [, local, , found] = line.trim().split(/\s+/);
    const here = parseEndpoint(local);
    if (!here || found !== state || here.port === 0) return [];
    if (!loopback && isLoopback(here.address)) return [];
    return [here.port];
  });
}

/** Whether packets to this address come from this machine alone. */
export function isLoopback({ family, bytes }: Address): boolean {
  return family === 4
    ? bytes[0] === 127
    : bytes[15] === 1 && bytes.subarray(0, 15).every((byte) => byte === 0);
}
