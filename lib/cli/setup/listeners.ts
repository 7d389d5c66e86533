/** Which ports of this host take connections, and whose they are: what a person chooses from. */

import { isLoopback, LISTENING, parseEndpoint } from "../../firewall/host/sockets.ts";
import { readProc, tryReadProc } from "../../system/proc.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { formatAddress } from "../../values/address.ts";
import {
  expandPortSpec,
  formatPortSpec,
  parsePortSpec,
  type Protocol,
} from "../../values/ports.ts";
import { escapeUnprintable } from "../../values/text.ts";

/** One port that something listens on, on more than the loopback. */
export interface Listener {
  readonly protocol: Protocol;
  readonly port: number;
  /** Names of processes, as they call themselves: text from outside. */
  readonly programs: readonly string[];
  /** Whether root has opened one of its sockets: the name of another user's program says nothing. */
  readonly isRoots: boolean;
  readonly addresses: readonly string[];
}

/** A socket in the kernel's tables. */
export interface ListeningSocket {
  readonly protocol: Protocol;
  readonly port: number;
  readonly address: string;
  /** Who opened it. */
  readonly uid: string;
  readonly inode: string;
}

/** The sockets of one table that are in this state, those of the loopback left out. */
export function parseListeningSockets(
  text: string,
  { protocol, state }: { protocol: Protocol; state: string },
): ListeningSocket[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const here = parseEndpoint(fields[1]);
    if (!here || fields[3] !== state || here.port === 0 || isLoopback(here.address)) return [];
    const { port, address } = here;
    const [uid = "", inode = ""] = [fields[7], fields[9]];
    return [{ protocol, port, address: formatAddress(address), uid, inode }];
  });
}

/** `/proc/714/fd socket:[4711]` -> 4711 -> the processes that hold it. */
export function parseHolders(text: string): Map<string, number[]> {
  const holders = new Map<string, number[]>();
  for (const [, pid, inode] of text.matchAll(/^\/proc\/(\d+)\/fd socket:\[(\d+)\]$/gm)) {
    const of = holders.get(inode!) ?? [];
    if (!of.includes(Number(pid))) holders.set(inode!, [...of, Number(pid)]);
  }
  return holders;
}

/** Joins sockets of the same port. */
export function joinSockets(
  sockets: readonly ListeningSocket[],
  programsOf: (inode: string) => readonly string[],
): Listener[] {
  const ports = new Map<string, Listener>();
  for (const { protocol, port, address, uid, inode } of sockets) {
    const key = `${protocol} ${port}`;
    const { programs = [], addresses = [], isRoots = false } = ports.get(key) ?? {};
    ports.set(key, {
      protocol,
      port,
      programs: [...new Set([...programs, ...programsOf(inode)])],
      isRoots: isRoots || uid === "0",
      addresses: [...new Set([...addresses, address])],
    });
  }
  return [...ports.values()].sort((a, b) =>
    a.protocol === b.protocol ? a.port - b.port : a.protocol < b.protocol ? -1 : 1
  );
}

const FIND_HOLDERS = [
  "/proc",
  "-ignore_readdir_race",
  ...["-mindepth", "3", "-maxdepth", "3"],
  ...["-path", "/proc/[0-9]*/fd/*", "-lname", "socket:*", "-printf", "%h %l\\n"],
];

/** Looks at this host. Without the rights, or the program find, the names are missing. */
export async function findListeners(run: RunProgram): Promise<Listener[]> {
  const tables = await Promise.all(
    LISTENING.map(async (table) =>
      parseListeningSockets(await readProc(table.path, run) ?? "", table)
    ),
  );
  const sockets = tables.flat();
  const listing = await run({ program: "find", args: FIND_HOLDERS, timeoutMs: 10_000 })
    .catch(() => "");
  const holders = parseHolders(listing);
  const names = new Map<number, string>();
  for (const pid of new Set(sockets.flatMap(({ inode }) => holders.get(inode) ?? []))) {
    names.set(pid, (await tryReadProc(`/proc/${pid}/comm`, run)).trim());
  }
  return joinSockets(
    sockets,
    (inode) => (holders.get(inode) ?? []).map((pid) => names.get(pid)!).filter(Boolean),
  );
}

/** The ports by which people log in: sshd's, systemd's for it, and the one of this session. */
export function sshPorts(listeners: readonly Listener[], own: number | undefined): string[] {
  return listeners.filter(({ protocol, port, programs, isRoots }) =>
    protocol === "tcp" && (
      port === own || (isRoots && programs.some((name) => /^(sshd|dropbear)/.test(name))) ||
      (port === 22 && (programs.length === 0 || programs.includes("systemd")))
    )
  ).map(nameOf);
}

/** `22/tcp`. */
export function nameOf({ protocol, port }: Listener): string {
  return `${port}/${protocol}`;
}

/**
 * Reads a list such as `22, 8443/tcp`; a bare number means the protocols on which something listens there. Gives what the
 * configuration is to have, or the item that is no port.
 */
export function readPortList(
  text: string,
  listeners: readonly Listener[],
): { readonly ports: readonly string[] } | { readonly wrong: string } {
  const ports = new Set<string>();
  for (const item of text.split(/[\s,]+/).filter(Boolean)) {
    const spec = parsePortSpec(item);
    if (!spec) return { wrong: item };
    const wanted = spec.protocol === "both" && spec.first === spec.last
      ? listeners.filter(({ port }) => port === spec.first).map(nameOf)
      : [];
    for (const port of wanted.length > 0 ? wanted : expandPortSpec(spec).map(formatPortSpec)) {
      ports.add(port);
    }
  }
  return ports.size === 0 ? { wrong: text } : { ports: [...ports] };
}

/** A row for each port, fit to print. */
export function listenerRows(listeners: readonly Listener[]): string[][] {
  return listeners.map((each) => [
    nameOf(each),
    escapeUnprintable(each.programs.join(" ")) || "?",
    each.addresses.join(" "),
  ]);
}
