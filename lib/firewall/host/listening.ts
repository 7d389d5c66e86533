/**
 * The ports of this host that somebody outside could reach: sockets that listen on TCP or are bound on UDP, on anything
 * but the loopback (proc_net_tcp.txt).
 */

import type { Address } from "../../values/address.ts";
import { mergePortRanges, type PortRange, type Protocol } from "../../values/ports.ts";
import { tryReadProc } from "../../system/proc.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { parseEndpoint } from "./sockets.ts";

const TABLES: readonly { path: string; protocol: Protocol; state: string }[] = [
  { path: "/proc/net/tcp", protocol: "tcp", state: "0A" }, // TCP_LISTEN
  { path: "/proc/net/tcp6", protocol: "tcp", state: "0A" },
  { path: "/proc/net/udp", protocol: "udp", state: "07" }, // bound, not connected
  { path: "/proc/net/udp6", protocol: "udp", state: "07" },
];

/** Where Linux lists its TCP sockets. */
export const TCP_TABLES = ["/proc/net/tcp", "/proc/net/tcp6"] as const;

/** Every such port as ranges, neighbours joined. None where the system does not tell. */
export async function listeningPorts(run: RunProgram): Promise<PortRange[]> {
  const found = await Promise.all(TABLES.map(async ({ path, protocol, state }) => {
    const text = await tryReadProc(path, run);
    return parseListening(text, state).map((port): PortRange => ({
      protocol,
      first: port,
      last: port,
    }));
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

function isLoopback({ family, bytes }: Address): boolean {
  return family === 4
    ? bytes[0] === 127
    : bytes[15] === 1 && bytes.subarray(0, 15).every((byte) => byte === 0);
}
