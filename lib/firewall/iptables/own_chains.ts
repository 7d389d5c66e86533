/** openme's chains in the mangle table, as `iptables -t mangle -S` lists them, whichever process put them there. Pure. */

import { formatNetwork, parseNetwork } from "../../values/network.ts";
import type { PortRange } from "../../values/ports.ts";
import type { Standing } from "../backend.ts";
import type { Family } from "../host/families.ts";
import type { IptablesView } from "../host/iptables.ts";
import type { ProcessName } from "../owner.ts";
import { CHAIN } from "../plan.ts";
import { STAMPS } from "./knocks.ts";

export const LOCAL = `${CHAIN}_LOCAL`;
export const GUARD = `${CHAIN}_GUARD`;
export const GRANTS = `${CHAIN}_GRANTS`;
export const ALLOW = `${CHAIN}_ALLOW`;
/** An empty chain that says that the table was not there before openme. */
export const MADE_TABLE = `${CHAIN}_MADE_TABLE`;
/** The name of an empty chain begins so, and goes on with the process that keeps the guard. */
const OWNER_PREFIX = `${CHAIN}_O_`;

const JUMP = `-A PREROUTING -j ${CHAIN}`;

/** What `iptables -t mangle -S` shows of openme. */
export interface OwnChains {
  readonly chains: readonly string[];
  /** How many rules in PREROUTING jump to openme's chain. */
  readonly jumps: number;
  /** Whether the first rule of PREROUTING is such a jump, before any rule that accepts or drops. */
  readonly isFirst: boolean;
  readonly owner: ProcessName | undefined;
  readonly madeTable: boolean;
  /**
   * Everything of openme's, to compare, but the grants (the end of their chain, which drops, is none) and the stamps
   * of the moment.
   */
  readonly fixed: string;
  readonly grants: readonly (Standing & { endsAtMs: number })[];
}

/** Reads `iptables -t mangle -S`. */
export function parseOwnChains(listing: string): OwnChains {
  const lines = listing.split("\n").map((line) => line.trim());
  const chains = lines.flatMap((line) => /^-N (OPENME\w*)$/.exec(line)?.[1] ?? []);
  const ours = lines.filter((line) =>
    (/^-[NA] OPENME/.test(line) || line.endsWith(`-j ${CHAIN}`)) &&
    !line.startsWith(`-A ${GRANTS} -s `) && !line.startsWith(`-A ${STAMPS} -m `)
  );
  return {
    chains,
    jumps: lines.filter((line) => line === JUMP).length,
    isFirst: lines.find((line) => line.startsWith("-A PREROUTING ")) === JUMP,
    owner: chains.map(ownerNamedBy).find((each) => each !== undefined),
    madeTable: chains.includes(MADE_TABLE),
    fixed: ours.sort(byChain).join("\n"),
    grants: lines.flatMap(parseGrant),
  };
}

/** Chains come in no certain order; rules within one do. */
function byChain(a: string, b: string): number {
  const [x, y] = [a, b].map((line) => line.split(" ", 2).join(" "));
  return x! < y! ? -1 : x! > y! ? 1 : 0;
}

function parseGrant(line: string): (Standing & { endsAtMs: number }) | [] {
  const match = /^-A OPENME_GRANTS -s ([0-9a-f.:]+\/\d+) .*--datestop (\S+)/.exec(line);
  const address = match && parseNetwork(match[1]!);
  const ports = parsePorts(line);
  if (!address || !ports) return [];
  return {
    address: formatNetwork(address),
    ports: [ports],
    endsAtMs: Date.parse(`${match[2]}Z`) + 1000,
  };
}

/** The ports of a rule of openme's. */
export function parsePorts(rule: string): PortRange | undefined {
  const match = /-p (tcp|udp) -m (?:tcp|udp) --dport (\d{1,5})(?::(\d{1,5}))? /.exec(rule);
  if (!match) return undefined;
  const [, protocol, first, last = first] = match;
  return { protocol: protocol as PortRange["protocol"], first: Number(first), last: Number(last) };
}

/** At most 28 characters: a pid of 22 bits and ticks since the boot, in base 36. */
export function renderOwner({ pid, startTicks }: ProcessName): string {
  return `${OWNER_PREFIX}${pid.toString(36)}_${Number(startTicks).toString(36)}`;
}

function ownerNamedBy(chain: string): ProcessName | undefined {
  const match = /^OPENME_O_([0-9a-z]{1,6})_([0-9a-z]{1,10})$/.exec(chain);
  if (!match) return undefined;
  return { pid: parseInt(match[1]!, 36), startTicks: String(parseInt(match[2]!, 36)) };
}

/** openme's chains in the listing of each family. */
export function ownChainsIn(
  mangle: IptablesView["mangle"],
): ReadonlyMap<Family, OwnChains> {
  return new Map([...mangle].map(([family, listing]) => [family, parseOwnChains(listing)]));
}

/** What is fixed in all of them, to compare. */
export function fixedOf(own: ReadonlyMap<Family, OwnChains>): string {
  return [...own].map(([family, { fixed }]) => `${family}\n${fixed}`).join("\n\n");
}
