/**
 * The ports of this host that somebody outside could reach: sockets that listen on TCP or are bound on UDP, on anything
 * but the loopback (proc_net_tcp.txt).
 */

import { hexToBytes } from "../crypto.ts";
import { mergePortRanges, type PortRange, type Protocol } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";

const TABLES: readonly { path: string; protocol: Protocol; state: string }[] = [
  { path: "/proc/net/tcp", protocol: "tcp", state: "0A" }, // TCP_LISTEN
  { path: "/proc/net/tcp6", protocol: "tcp", state: "0A" },
  { path: "/proc/net/udp", protocol: "udp", state: "07" }, // bound, not connected
  { path: "/proc/net/udp6", protocol: "udp", state: "07" },
];

/** Every such port as ranges, neighbours joined. None where the system does not tell. */
export async function listeningPorts(run: RunProgram): Promise<PortRange[]> {
  const found = await Promise.all(TABLES.map(async ({ path, protocol, state }) => {
    const text = await run({ program: "cat", args: [path], timeoutMs: 2000 }).catch(() => "");
    return parseListening(text, state).map((port): PortRange => ({
      protocol,
      first: port,
      last: port,
    }));
  }));
  return mergePortRanges(found.flat());
}

/** The local ports of the sockets in this state. */
export function parseListening(text: string, state: string): number[] {
  return text.split("\n").flatMap((line) => {
    const [, local, , found] = line.trim().split(/\s+/);
    const match = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(local ?? "");
    if (!match || found !== state || isLoopback(hexToBytes(match[1]!))) return [];
    const port = parseInt(match[2]!, 16);
    return port === 0 ? [] : [port];
  });
}

/** Words of 32 bits, little-endian: 127/8 is in the last byte of its word, ::1 in the first of the last. */
function isLoopback(bytes: Uint8Array): boolean {
  if (bytes.length === 4) return bytes[3] === 127;
  const isMapped = bytes.subarray(0, 8).every((byte) => byte === 0) && bytes[10] === 0xff &&
    bytes[11] === 0xff;
  return isMapped
    ? bytes[15] === 127
    : bytes[12] === 0 && bytes[15] === 1 && bytes.subarray(0, 12).every((byte) => byte === 0);
}
