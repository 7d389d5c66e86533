/**
 * What is dropped of the datagrams for the knock port, as rule text: pure. The kernel tells knocks of openme's own clients
 * by four bytes that it compares with the stamps of now; docs/firewalls.md says what that is worth.
 */

import { OFFSET_AEAD_NONCE, PACKET_SIZE } from "../../packet.ts";
import type { KnockStamp } from "../backend.ts";
import { CHAIN, type GuardPlan, UNSTAMPED_PER_SECOND } from "../plan.ts";
import type { Family } from "../host/families.ts";
import { inTable } from "../host/read_iptables.ts";

export const KNOCK = `${CHAIN}_KNOCK`;
/** Lets go on what bears a stamp, and sends all else to `UNSTAMPED`; written anew as time goes on. */
export const STAMPS = `${CHAIN}_STAMPS`;
export const UNSTAMPED = `${CHAIN}_UNSTAMPED`;

/** The match by which a rule compares stamps. `u32` would do, at ten stamps a rule, but RHEL 9 is built without it. */
export const STAMP_MATCH = "bpf";

const IP_HEADER = { 4: 20, 6: 40 } as const;
const UDP_HEADER = 8;

/**
 * Right-sized packets of one source (a /64 in IPv6) beyond the rate of `nft/rules.ts`. A full table of sources
 * would drop packets of all other sources, so it forgets within a second and has room for more than a network card
 * delivers.
 */
const METER = [
  "-m hashlimit --hashlimit-above 2000/second --hashlimit-burst 1000 --hashlimit-mode srcip",
  "--hashlimit-htable-max 1000000 --hashlimit-htable-expire 1000 --hashlimit-htable-gcinterval 500",
].join(" ");

/** One count for all sources of a family. Unlike `-m limit` it takes any rate, and goes on while chains are rewritten. */
const SHARED_METER = [
  `-m hashlimit --hashlimit-above ${UNSTAMPED_PER_SECOND}/second`,
  `--hashlimit-burst ${UNSTAMPED_PER_SECOND / 10} --hashlimit-htable-size 1`,
].join(" ");

/** Stamps in one rule: iptables-restore takes arguments of up to 1,023 characters, and the kernel 64 instructions. */
const STAMPS_PER_RULE = 40;

/** The chains for the knock port. */
export function knockChains(tellsStamps: boolean): string[] {
  return tellsStamps ? [KNOCK, STAMPS, UNSTAMPED] : [KNOCK];
}

/** The rules of these chains; without `stamps` none tells stamped knocks from others. `allow` lets a knock in. */
export function renderKnockRules(
  family: Family,
  { onlyStampedKnocks, openKnockPort }: GuardPlan,
  { stamps, allow }: { stamps: readonly KnockStamp[] | undefined; allow: string },
): string[] {
  const size = IP_HEADER[family] + UDP_HEADER + PACKET_SIZE;
  const [mask, options] = family === 4 ? [32, 40] : [64, 0];
  const compare = stamps ? [`-A ${KNOCK} -j ${STAMPS}`] : [];
  const unstamped = onlyStampedKnocks
    ? "-j DROP"
    : `${SHARED_METER} --hashlimit-name openme${family}_rest -j DROP`;
  return [
    // Options in an IPv4 header make a knock up to 40 bytes longer.
    `-A ${KNOCK} -m length ! --length ${size}:${size + options} -j DROP`,
    ...onlyStampedKnocks ? compare : [],
    `-A ${KNOCK} ${METER} --hashlimit-srcmask ${mask} --hashlimit-name openme${family} -j DROP`,
    ...onlyStampedKnocks ? [] : compare,
    ...openKnockPort ? [`-A ${KNOCK} -g ${allow}`] : [],
    ...stamps ? [...renderStampRules(family, stamps), `-A ${UNSTAMPED} ${unstamped}`] : [],
  ];
}

/** One `iptables-restore` that puts these stamps in place of all others. */
export function renderStamps(family: Family, stamps: readonly KnockStamp[]): string {
  return inTable("mangle", [`:${STAMPS} - [0:0]`, ...renderStampRules(family, stamps)]);
}

function renderStampRules(family: Family, stamps: readonly KnockStamp[]): string[] {
  const rules = Math.ceil(stamps.length / STAMPS_PER_RULE);
  return [
    ...Array.from({ length: rules }, (_, i) => {
      const some = stamps.slice(i * STAMPS_PER_RULE, (i + 1) * STAMPS_PER_RULE);
      return `-A ${STAMPS} -m bpf --bytecode "${renderStampProgram(family, some)}" -j RETURN`;
    }),
    `-A ${STAMPS} -g ${UNSTAMPED}`,
  ];
}

/**
 * A program of classic BPF that takes packets with one of these stamps, as `-m bpf` reads it: the number of instructions,
 * then each as operation, jump if true, jump if false, operand. It sees a packet from its IP header on.
 */
function renderStampProgram(family: Family, stamps: readonly KnockStamp[]): string {
  const inUdp = UDP_HEADER + OFFSET_AEAD_NONCE;
  const load = family === 4
    // X = length of the IPv4 header; A = the four bytes at X + inUdp.
    ? ["177 0 0 0", `64 0 0 ${inUdp}`]
    // A = the four bytes. A datagram with extension headers was dropped for its size.
    : [`32 0 0 ${IP_HEADER[6] + inUdp}`];
  const program = [
    ...load,
    // If A is the stamp, on to the last instruction.
    ...stamps.map(({ word }, i) => `21 ${stamps.length - i} 0 ${word}`),
    "6 0 0 0",
    "6 0 0 65535",
  ];
  return [program.length, ...program].join(",");
}

/** Whether the guard drops what bears no stamp; `undefined` where it tells no stamps. Of rules without `-A CHAIN`. */
export function dropsUnstamped(rulesOf: (chain: string) => readonly string[]): boolean | undefined {
  const [rule] = rulesOf(UNSTAMPED);
  return rule === undefined ? undefined : rule === "-j DROP";
}

/** What the rules have dropped on the knock port, by reason, from `iptables -t mangle -v -S`. */
export function parseKnockCounters(listing: string): Record<string, number> {
  const drops = { size: 0, rate: 0, unstamped: 0 };
  for (const line of listing.split("\n")) {
    const [, chain, rule, packets] =
      /^-A (OPENME_KNOCK|OPENME_UNSTAMPED) (.*)-c (\d+) \d+ -j DROP$/.exec(line.trim()) ?? [];
    if (packets === undefined) continue;
    const reason = chain === UNSTAMPED
      ? "unstamped"
      : rule!.startsWith("-m hashlimit ")
      ? "rate"
      : "size";
    drops[reason] += Number(packets);
  }
  return drops;
}
