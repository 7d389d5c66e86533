/**
 * Takes a fingerprint of a table of iptables-legacy, through libc: the rules as the kernel keeps them, without their
 * counters and stamps. These tables have no generation, and to list them is a program for each. Needs CAP_NET_ADMIN.
 */

import { openLibc } from "../../system/libc.ts";
import type { BackendParts } from "../backend.ts";
import type { Family } from "./families.ts";

/** The kernel's numbers, from socket.h, in.h, ip_tables.h and ip6_tables.h. */
const SOCK_DGRAM_CLOEXEC = 2 | 0x80000;
const GET_INFO = 64;
const GET_ENTRIES = 65;

/** struct ipt_getinfo and ip6t_getinfo: the name, 4 + 20 + 20 bytes on hooks, how many entries, their size. */
const NAME_SIZE = 32;
const INFO_SIZE = NAME_SIZE + 52;
const INFO_ENTRIES_SIZE = INFO_SIZE - 4;
/** struct ipt_get_entries and ip6t_get_entries: the name, the size, 4 bytes of nothing; then the entries. */
const ENTRIES_AT = NAME_SIZE + 8;

/** What differs between the families. Offsets are of struct ipt_entry and ip6t_entry. */
const FAMILIES = {
  4: { domain: 2, level: 0, targetAt: 88, nextAt: 90, countersAt: 96 },
  6: { domain: 10, level: 41, targetAt: 140, nextAt: 142, countersAt: 152 },
} as const;
const COUNTERS_SIZE = 16;
/** struct xt_entry_match: its size, then its name; behind that what it compares. Matches follow the counters. */
const MATCH_NAME_AT = 2;
const MATCH_HEADER_SIZE = 32;
/** The match by which rules compare stamps, which change all the time. */
const BPF = [...new TextEncoder().encode("bpf"), 0];

const LIBC = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // 50,000 rules take some 10 ms: on a thread of its own.
  getsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },
} as const;

/** Opens a socket for each family, until the process ends. `undefined` without Linux, glibc or the permission. */
export function openLegacyRules(): BackendParts["readLegacyTable"] {
  const libc = openLibc(LIBC);
  if (!libc) return undefined;
  const open = (family: Family) => libc.socket(FAMILIES[family].domain, SOCK_DGRAM_CLOEXEC, 0);
  const sockets = { 4: open(4), 6: open(6) };

  return async (family, table) => {
    const { level } = FAMILIES[family];
    const get = async (option: number, answer: Uint8Array<ArrayBuffer>) => {
      // Read afterwards, which keeps it: the engine frees what only another thread's call still uses.
      const size = Uint32Array.of(answer.length);
      const result = await libc.getsockopt(sockets[family], level, option, answer, size);
      return result === 0 && size[0] === answer.length;
    };
    const info = tableQuestion(table, INFO_SIZE);
    if (!await get(GET_INFO, info)) return undefined;
    const size = new DataView(info.buffer).getUint32(INFO_ENTRIES_SIZE, true);
    const answer = tableQuestion(table, ENTRIES_AT + size);
    new DataView(answer.buffer).setUint32(NAME_SIZE, size, true);
    // Refused where the size has changed meanwhile.
    if (!await get(GET_ENTRIES, answer)) return undefined;
    if (!clearVolatile(answer.subarray(ENTRIES_AT), family)) return undefined;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", answer));
    return digest.toHex();
  };
}

function tableQuestion(table: string, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  bytes.set(new TextEncoder().encode(table).subarray(0, NAME_SIZE - 1));
  return bytes;
}

/**
 * Sets to 0 what may change while no rule does: the counters of every entry, and what its matches of BPF compare. False
 * where the entries are not as they are expected to be.
 */
export function clearVolatile(entries: Uint8Array, family: Family): boolean {
  const { targetAt, nextAt, countersAt } = FAMILIES[family];
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  let at = 0;
  while (at + countersAt + COUNTERS_SIZE <= entries.length) {
    entries.fill(0, at + countersAt, at + countersAt + COUNTERS_SIZE);
    const next = view.getUint16(at + nextAt, true);
    if (next < countersAt + COUNTERS_SIZE) return false;
    const matchesEnd = Math.min(at + view.getUint16(at + targetAt, true), entries.length);
    let match = at + countersAt + COUNTERS_SIZE;
    while (match + MATCH_HEADER_SIZE <= matchesEnd) {
      const size = view.getUint16(match, true);
      if (size < MATCH_HEADER_SIZE) return false;
      if (BPF.every((byte, i) => entries[match + MATCH_NAME_AT + i] === byte)) {
        entries.fill(0, match + MATCH_HEADER_SIZE, Math.min(match + size, matchesEnd));
      }
      match += size;
    }
    at += next;
  }
  return at === entries.length;
}
