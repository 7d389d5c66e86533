/**
 * The entries of connection tracking that lead from wanted addresses to their ports, whether this host or another answers
 * there. Read by `conntrack`, or from the kernel's own list where that is not installed; taken out by `conntrack`.
 */

import { type Address, formatAddress, parseAddress } from "../../values/address.ts";
import { OpenmeError } from "../../values/errors.ts";
import { containsAddress, formatNetwork, isSingle, type Network } from "../../values/network.ts";
import type { PortRange, Protocol } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { readProc } from "../../system/proc.ts";

const DEADLINE_MS = 5000;
/** Beyond so many addresses one look at all entries is quicker than a look for each. */
const MOST_SINGLE_LOOKS = 32;

/** An address, or a network, whose connections to these ports are wanted. */
export interface Place {
  readonly address: Network;
  readonly ports: readonly PortRange[];
}

/** Wanted ports by the text of their address or network. */
export interface WantedPorts {
  readonly byText: ReadonlyMap<string, readonly PortRange[]>;
  /** Places that are wider than an address. */
  readonly networks: readonly Network[];
}

export function portsByPlace(places: readonly Place[]): WantedPorts {
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

/** Whether a connection from this address to this port is wanted. */
export function isWanted(
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

/** The wanted entries in what `conntrack -L` prints, or in the kernel's own list, either way round. */
export function parseFlows(listing: string, wanted: WantedPorts): Flow[] {
  return listing.split("\n").flatMap((line) => {
    // tcp  6 431999 ESTABLISHED src=10.0.0.2 dst=10.0.0.1 sport=4242 dport=22 src=… (the way back)
    const match = /^(?:ipv[46] +\d+ )?(tcp|udp) .*?\bsrc=(\S+) dst=(\S+) sport=(\d+) dport=(\d+) /
      .exec(line);
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
    // An entry made in mid-connection, by a packet of the server.
    if (isWanted(wanted, destination, protocol, sourcePort)) {
      return { ...common, remote: destination, remotePort: destinationPort, port: sourcePort };
    }
    return [];
  });
}

/** The wanted entries. Throws where they cannot be listed and there may be some. */
export async function listFlows(
  wanted: WantedPorts,
  { run, hasConntrack }: { run: RunProgram; hasConntrack: boolean },
): Promise<Flow[]> {
  if (!hasConntrack) {
    const listing = await readProc("/proc/net/nf_conntrack", run);
    if (listing !== undefined) return parseFlows(listing, wanted);
    if (!await forwards(run)) return [];
    throw new OpenmeError(
      "COMMAND",
      "connections that this host forwards cannot be told without the program conntrack",
    );
  }
  const looks = wanted.byText.size > MOST_SINGLE_LOOKS || wanted.networks.length > 0
    ? [["-f", "ipv4"], ["-f", "ipv6"]]
    : [...wanted.byText.keys()].flatMap((address) => {
      const family = ["-f", address.includes(":") ? "ipv6" : "ipv4"];
      return [[...family, "-s", address], [...family, "-d", address]];
    });
  const flows: Flow[] = [];
  for (const look of looks) {
    const args = ["-L", ...look];
    flows.push(
      ...parseFlows(await run({ program: "conntrack", args, timeoutMs: DEADLINE_MS }), wanted),
    );
  }
  return flows;
}

/** Whether this host forwards. Without that, every connection ends in a socket of its own. */
async function forwards(run: RunProgram): Promise<boolean> {
  const paths = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];
  const values = await Promise.all(paths.map((path) => readProc(path, run)));
  return values.some((value) => value !== undefined && value.trim() !== "0");
}

export async function deleteFlow(flow: Flow, run: RunProgram): Promise<void> {
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
}
