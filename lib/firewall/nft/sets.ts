/**
 * The sets that hold what is open, as pure functions: which opening stands in which set, and the text that gives a set
 * exactly its contents. Openings of one port are in a hash set; a range of ports needs an interval set, whose writing takes
 * time by the square of its length, and has a set of its own, so that only ranges pay for it.
 *
 * nft writes a set whole, by `flush set` and the syntax of a table's block. For `add element` and `delete element` it first
 * reads every interval set of the whole host, other people's blocklists too, which takes 3 s beside 200,000 addresses.
 */

import { formatAddress } from "../../values/address.ts";
import type { AddressOpenings } from "../../grants.ts";
import { isSingle, type Network } from "../../values/network.ts";
import type { Opening } from "../../values/openings.ts";
import type { PortRange } from "../../values/ports.ts";
import { type Prefix, TABLE } from "../plan.ts";

const RANGES = "_ranges";

/** The two sets for addresses of one family, or for networks of one size. */
export function openingSets(prefix: Prefix | 4 | 6): [ports: string, ranges: string] {
  const name = typeof prefix === "number" ? `granted${prefix}` : `prefix${suffixOf(prefix)}`;
  return [name, name + RANGES];
}

/** `4_24`: how the names of chains and sets for networks of one size end. */
export function suffixOf({ family, length }: Prefix): string {
  return `${family}_${length}`;
}

/** Of which size a network is. */
export function prefixOf({ base, length }: Network): Prefix {
  return { family: base.family, length };
}

/** The same for what is open only while its address is active. */
export function extendedSets(prefix: Prefix | 4 | 6): [ports: string, ranges: string] {
  const name = `extended${typeof prefix === "number" ? prefix : suffixOf(prefix)}`;
  return [name, name + RANGES];
}

/** The set that holds this opening of an address or network. */
export function setOf(network: Network, opening: Omit<Opening, "timeoutMs">): string {
  const setsFor = opening.whileActive ? extendedSets : openingSets;
  const [ports, ranges] = setsFor(isSingle(network) ? network.base.family : prefixOf(network));
  return opening.first === opening.last ? ports : ranges;
}

/** The elements of every set that holds any of these openings. */
export function elementsBySet(openings: readonly AddressOpenings[]): Map<string, string[]> {
  const bySet = new Map<string, string[]>();
  for (const { address, openings: each } of openings) {
    const base = formatAddress(address.base);
    for (const opening of each) {
      const set = setOf(address, opening);
      if (!bySet.has(set)) bySet.set(set, []);
      bySet.get(set)!.push(
        `${base} . ${renderPorts(opening)} timeout ${wholeMs(opening)}ms`,
      );
    }
  }
  return bySet;
}

/** One set of openings, in the syntax of a table's block. */
export function renderOpeningSet(set: string, elements: readonly string[] = []): string {
  const family = /^[a-z]+([46])/.exec(set)![1];
  const flags = set.endsWith(RANGES) ? "interval, timeout" : "timeout";
  return `set ${set} { type ipv${family}_addr . inet_proto . inet_service; flags ${flags};${
    renderSetElements(elements)
  } }`;
}

/**
 * One transaction that gives each of these sets the elements listed for it and no others. Packets meet the old contents
 * or the new ones. It fails where the set, or the table, is gone.
 */
export function renderContents(
  sets: Iterable<string>,
  elements: ReadonlyMap<string, readonly string[]>,
): string {
  return [...sets].map((set) =>
    `flush set ${TABLE} ${set}\n` +
    (elements.has(set) ? `table ${TABLE} { ${renderOpeningSet(set, elements.get(set))}; }\n` : "")
  ).join("");
}

export function renderPorts({ protocol, first, last }: PortRange): string {
  return `${protocol} . ${first === last ? first : `${first}-${last}`}`;
}

export function renderSetElements(elements: readonly string[]): string {
  return elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} }`;
}

/** Rounded down to whole ms, at least one: a timeout of 0 would mean none at all. */
export function wholeMs({ timeoutMs }: Opening): number {
  return Math.max(1, Math.floor(timeoutMs));
}

/** The sets of openings that a listing of the table names, each with the length of its networks. */
export function parseOpeningSets(listing: string): { set: string; length: number | undefined }[] {
  const SET = /^\s*set ((?:granted[46]|prefix[46]_(\d{1,3}))(?:_ranges)?) \{/gm;
  return [...listing.matchAll(SET)].map(([, set, length]) => ({
    set: set!,
    length: length === undefined ? undefined : Number(length),
  }));
}
