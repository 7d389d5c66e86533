/**
 * The rule text of grants for networks, as pure functions, and how the first address that connects keeps others out:
 * docs/firewalls.md, "Networks".
 *
 * For each size of network there is a set of openings, one of the addresses that were let in ("noted"), and one of the
 * networks in which an address has connected since the last knock ("claimed"). Networks of one size are disjoint or the
 * same, so that no two elements of an interval set overlap. Notes and claims matter only while the network is in the
 * first set, whose elements the kernel ends.
 */

import { type Address, formatAddress, parseAddress } from "../../values/address.ts";
import type { AddressOpenings } from "../../grants.ts";
import { isSingle, maskOf, type Network } from "../../values/network.ts";
import { elementsIn } from "../host/nft_listing.ts";
import { type GuardPlan, type Prefix, TABLE } from "../plan.ts";
import type { RenderFurther } from "./rules.ts";
import { openingSets, prefixOf, renderOpeningSet, suffixOf } from "./sets.ts";

/** How much longer than a knock opens a claim and a note stand: they must outlive their grant, also a renewed one. */
const SPARE_S = 3600;
/** How long a note stands at the most after its address last connected, ms: a knock opens for 24 h at the most. */
export const MOST_NOTE_MS = 25 * 3_600_000;
/** As many as there can be grants. A full set of those that have ended is made anew at the next knock. */
export const CLAIMED_NETWORKS = 65_536;
/** All are listed where a network opens anew. A full set takes no note: then each knock lets in one connection. */
const NOTED_ADDRESSES = 16_384;
/** Only the first packet passes it, also where two processors look at the same moment. */
const ONCE = "limit rate 1/day burst 1 packets";

/** The addresses that have connected in an open network. */
export interface NetworkNotes {
  readonly network: Network;
  /** Whether an address has connected since the last knock. */
  readonly claimed: boolean;
  readonly noted: readonly Address[];
}

/** The set of the addresses that were let in to networks of this size. */
export function notedSet(prefix: Prefix): string {
  return `noted${suffixOf(prefix)}`;
}

/** The set of the networks of this size in which an address has connected since the last knock. */
export function claimedSet(prefix: Prefix): string {
  return `claimed${suffixOf(prefix)}`;
}

/** The sizes of the plan, and of what is open beside it, in order and each once. */
export function prefixesIn(
  planned: readonly Prefix[],
  openings: readonly AddressOpenings[],
): Prefix[] {
  const all = [
    ...planned,
    ...openings.filter(({ address }) => !isSingle(address)).map(({ address }) => prefixOf(address)),
  ];
  return [...new Map(all.map((each) => [suffixOf(each), each])).values()]
    .sort((a, b) => a.family - b.family || a.length - b.length);
}

/** The part of a table for networks of the plan's sizes, and of what is open beside them. */
export function renderNetworks(
  plan: Pick<GuardPlan, "prefixes" | "lifetimeMs">,
  openings: readonly AddressOpenings[],
  notes: readonly NetworkNotes[],
): RenderFurther {
  const prefixes = prefixesIn(plan.prefixes, openings);
  return (letIn, elements) => ({
    sets: renderPrefixSets(prefixes, plan.lifetimeMs, elements, notes),
    rules: renderPrefixRules(prefixes),
    chains: renderPrefixChains(prefixes, letIn),
  });
}

function renderPrefixSets(
  prefixes: readonly Prefix[],
  lifetimeMs: number,
  elements: ReadonlyMap<string, readonly string[]>,
  notes: readonly NetworkNotes[],
): string {
  const timeoutS = Math.ceil(lifetimeMs / 1000) + SPARE_S;
  return prefixes.map((prefix) => {
    const { family } = prefix;
    const here = notes.filter(({ network }) => suffixOf(prefixOf(network)) === suffixOf(prefix));
    const dynamic = (set: string, size: number, elements: readonly string[]) =>
      `  set ${set} { type ipv${family}_addr; size ${size}; flags dynamic, timeout; timeout ${timeoutS}s;${
        elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} }`
      } }\n`;
    const claimed = here.filter((each) => each.claimed);
    return openingSets(prefix).map((set) => `  ${renderOpeningSet(set, elements.get(set))}\n`)
      .join("") +
      dynamic(
        claimedSet(prefix),
        CLAIMED_NETWORKS,
        claimed.map(({ network }) => formatAddress(network.base)),
      ) +
      dynamic(
        notedSet(prefix),
        NOTED_ADDRESSES,
        here.flatMap(({ noted }) => noted.map(formatAddress)),
      );
  }).join("");
}

/** Rules of the guard: packets from an open network go to that network's chain. */
function renderPrefixRules(prefixes: readonly Prefix[]): string[] {
  return prefixes.flatMap((prefix) =>
    openingSets(prefix).map((set) =>
      `${networkOfSource(prefix)} . meta l4proto . th dport @${set} jump prefix${suffixOf(prefix)}`
    )
  );
}

/**
 * For each size a chain that finds out whether a source may come in, and one that lets it in. To connect is to send a
 * TCP SYN or a datagram: a stray packet of an old connection claims nothing. The claim comes before the note, or a full
 * set of claims would let everyone in at the second attempt.
 */
function renderPrefixChains(prefixes: readonly Prefix[], letIn: string): string {
  return prefixes.map((prefix) => {
    const suffix = suffixOf(prefix);
    const network = networkOfSource(prefix);
    const source = sourceOf(prefix);
    const noSyn = "tcp flags & (fin | syn | rst | ack) != syn";
    const claim = `add @${claimedSet(prefix)} { ${network} ${ONCE} }`;
    return `  chain prefix${suffix} {
    ${source} @${notedSet(prefix)} goto known${suffix}
    ${network} @${claimedSet(prefix)} return
    ${noSyn} return
    ${claim} goto first${suffix}
  }
  chain known${suffix} {
    ${noSyn} ${letIn}
    ${claim}
    goto first${suffix}
  }
  chain first${suffix} {
    update @${notedSet(prefix)} { ${source} }
    ${letIn}
  }
`;
  }).join("");
}

/**
 * One transaction that takes these claims of networks and notes of addresses away; nothing where there are none. The
 * kernel fills these sets, so they cannot be written whole: what it added meanwhile would be lost.
 */
export function renderForgetting(
  claims: readonly Network[],
  notes: readonly { network: Network; noted: readonly Address[] }[],
): string {
  const gone = (set: string, address: Address) => {
    const element = formatAddress(address);
    // A bare `delete` of an element that has just ended fails the whole transaction.
    return `add element ${TABLE} ${set} { ${element} timeout 1s }\n` +
      `delete element ${TABLE} ${set} { ${element} }\n`;
  };
  return [
    ...claims.map((network) => gone(claimedSet(prefixOf(network)), network.base)),
    ...notes.flatMap(({ network, noted }) =>
      noted.map((address) => gone(notedSet(prefixOf(network)), address))
    ),
  ].join("");
}

/** The addresses in what `nft --json list set` prints of a set of addresses. */
export function parseAddressSet(json: string): Address[] {
  return elementsIn(json).flatMap((element) => {
    const address = typeof element === "string" ? parseAddress(element) : undefined;
    return address ? [address] : [];
  });
}

function sourceOf({ family }: Prefix): string {
  return family === 4 ? "ip saddr" : "ip6 saddr";
}

function networkOfSource(prefix: Prefix): string {
  return `${sourceOf(prefix)} & ${formatAddress(maskOf(prefix.family, prefix.length))}`;
}
