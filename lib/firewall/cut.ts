/**
 * Cuts connections that are established: those of this host's own sockets with `ss -K`, which ends both sides, and those
 * that are forwarded, to containers for example, by taking them out of connection tracking, where the guard then meets
 * them as new. Connection tracking alone would not do for own sockets: what the server sends next puts an entry back.
 */

import { type Address, formatAddress, parseAddress } from "../address.ts";
import { OpenmeError } from "../errors.ts";
import { containsAddress, formatNetwork, isSingle, type Network } from "../network.ts";
import type { PortRange, Protocol } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import { establishedConnections } from "./established.ts";

/** An address, or a network, whose connections to these ports are to be cut. */
export interface CutPlace {
  readonly address: Network;
  readonly ports: readonly PortRange[];
}

/** What was cut. */
export interface Cut {
  readonly connections: number;
  /** Connections of own sockets that are still there. */
  readonly left: number;
  /** Programs that were not there, and whose part was not done. */
  readonly missing: readonly string[];
}

const DEADLINE_MS = 5000;
/** Beyond so many addresses one look at all entries is quicker than a look for each. */
const MOST_SINGLE_LOOKS = 32;

/** Which of the two programs are there. Throws `OpenmeError`, code `COMMAND`, where neither is. */
export async function requireCutters(
  run: RunProgram,
): Promise<{ ss: boolean; conntrack: boolean }> {
  const [ss, conntrack] = await Promise.all([
    isThere(run, "ss", "-V"),
    isThere(run, "conntrack", "--version"),
  ]);
  if (ss || conntrack) return { ss, conntrack };
  throw new OpenmeError("COMMAND", "cannot cut connections: there is no program ss or conntrack", {
    hint: "install them on the server: apt-get install iproute2 conntrack",
  });
}

/** Cuts every established connection from these places. Call it when the firewall no longer lets them in. */
export async function cutConnections(places: readonly CutPlace[], run: RunProgram): Promise<Cut> {
  const { ss, conntrack } = await requireCutters(run);
  const wanted = portsByPlace(places);
  const own = async () =>
    (await establishedConnections(places.flatMap(({ ports }) => ports), run)).filter((each) =>
      isWanted(wanted, each.remote, "tcp", each.localPort)
    );
  const found = await own();
  const cut = new Set(found.map((each) => nameOf(each.remote, each.remotePort, each.localPort)));
  if (ss) {
    const pairs = new Set(found.map((each) => `${formatAddress(each.remote)} ${each.localPort}`));
    for (const pair of pairs) {
      const [address, port] = pair.split(" ") as [string, string];
      await run({
        program: "ss",
        args: ["-K", "-H", "-t", "-n", "dst", address, "sport", "=", `:${port}`],
        timeoutMs: DEADLINE_MS,
      });
    }
  }
  if (conntrack) {
    for (const flow of await listFlows(wanted, run)) {
      if (await deleteFlow(flow, run)) cut.add(nameOf(flow.remote, flow.remotePort, flow.port));
    }
  }
  const left = cut.size > 0 ? (await own()).length : 0;
  return {
    connections: cut.size - left,
    left,
    missing: [...(ss ? [] : ["ss"]), ...(conntrack ? [] : ["conntrack"])],
  };
}

/** What is wanted: ports by the text of their address or network. */
export interface WantedPorts {
  readonly byText: ReadonlyMap<string, readonly PortRange[]>;
  /** Those that are wider than an address. */
  readonly networks: readonly Network[];
}

/** An entry of connection tracking, with the end that was let in and the port that it was let in to. */
export interface Flow {
  readonly family: 4 | 6;
  readonly protocol: Protocol;
  readonly source: Address;
  readonly destination: Address;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly remote: Address;
  readonly remotePort: number;
  readonly port: number;
}

/** Reads what `conntrack -L` prints, as far as it is from a wanted address to one of its ports, either way round. */
export function parseFlows(
  listing: string,
  wanted: WantedPorts,
): Flow[] {
  return listing.split("\n").flatMap((line) => {
    // tcp  6 431999 ESTABLISHED src=10.0.0.2 dst=10.0.0.1 sport=4242 dport=22 src=… (the way back)
    const match = /^(tcp|udp) .*?\bsrc=(\S+) dst=(\S+) sport=(\d+) dport=(\d+) /.exec(line);
    const source = parseAddress(match?.[2] ?? "");
    const destination = parseAddress(match?.[3] ?? "");
    if (!match || !source || !destination || /\b(TIME_WAIT|CLOSE) src=/.test(line)) return [];
    const protocol = match[1] as Protocol;
    const [sourcePort, destinationPort] = [Number(match[4]), Number(match[5])];
    const common = {
      family: source.family,
      protocol,
      source,
      destination,
      sourcePort,
      destinationPort,
    };
    if (isWanted(wanted, source, protocol, destinationPort)) {
      return { ...common, remote: source, remotePort: sourcePort, port: destinationPort };
    }
    // Picked up from the middle, with the server's packet first.
    if (isWanted(wanted, destination, protocol, sourcePort)) {
      return { ...common, remote: destination, remotePort: destinationPort, port: sourcePort };
    }
    return [];
  });
}

async function listFlows(
  wanted: WantedPorts,
  run: RunProgram,
): Promise<Flow[]> {
  const list = (args: string[]) =>
    run({ program: "conntrack", args: ["-L", ...args], timeoutMs: DEADLINE_MS });
  const looks = wanted.byText.size > MOST_SINGLE_LOOKS || wanted.networks.length > 0
    ? [["-f", "ipv4"], ["-f", "ipv6"]]
    : [...wanted.byText.keys()].flatMap((address) => {
      const family = ["-f", address.includes(":") ? "ipv6" : "ipv4"];
      return [[...family, "-s", address], [...family, "-d", address]];
    });
  const flows: Flow[] = [];
  for (const look of looks) flows.push(...parseFlows(await list(look), wanted));
  return flows;
}

/** Whether there was still something to delete. */
async function deleteFlow(flow: Flow, run: RunProgram): Promise<boolean> {
  try {
    await run({
      program: "conntrack",
      args: [
        "-D",
        ...["-f", flow.family === 4 ? "ipv4" : "ipv6", "-p", flow.protocol],
        ...["-s", formatAddress(flow.source), "-d", formatAddress(flow.destination)],
        ...["--sport", String(flow.sourcePort), "--dport", String(flow.destinationPort)],
      ],
      timeoutMs: DEADLINE_MS,
    });
    return true;
  } catch {
    return false; // it has just ended by itself
  }
}

/** Gathers what is wanted of each place. */
export function portsByPlace(places: readonly CutPlace[]): WantedPorts {
  const byText = new Map<string, PortRange[]>();
  const networks: Network[] = [];
  for (const { address, ports } of places) {
    const text = formatNetwork(address);
    const known = byText.get(text);
    if (known) known.push(...ports);
    else byText.set(text, [...ports]);
    if (!known && !isSingle(address)) networks.push(address);
  }
  return { byText, networks };
}

function isWanted(
  wanted: WantedPorts,
  remote: Address,
  protocol: Protocol,
  port: number,
): boolean {
  const covers = (text: string) =>
    wanted.byText.get(text)?.some((range) =>
      range.protocol === protocol && range.first <= port && port <= range.last
    ) ?? false;
  return covers(formatAddress(remote)) ||
    wanted.networks.some((each) => containsAddress(each, remote) && covers(formatNetwork(each)));
}

function nameOf(remote: Address, remotePort: number, port: number): string {
  return `${formatAddress(remote)} ${remotePort} ${port}`;
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
