/**
 * What stays open while it is used (docs/firewalls.md, "Open while used"). The kernel does it alone: packets that a client
 * sends in an established connection to an extended port put its address into a set of active ones, for a while; from
 * there new connections are let in to what is extended. Both sets end by themselves. Here the active addresses are read,
 * and kept where the table is made anew. Loaded only where a plan extends anything.
 */

import type { AddressOpenings } from "../../grants.ts";
import { formatAddress, parseAddress } from "../../values/address.ts";
import { formatNetwork, isSingle, maskOf, type Network, networkOf } from "../../values/network.ts";
import { requireEntries } from "../host/nft_listing.ts";
import type { GuardPlan, Prefix } from "../plan.ts";
import { prefixesIn } from "./prefix_rules.ts";
import type { RenderFurther } from "./rules.ts";
import { extendedSets, prefixOf, renderOpeningSet, renderSetElements, suffixOf } from "./sets.ts";

/** As many as there can be grants. A full set takes no further address: that one is open as long as its knock says. */
const ACTIVE_ADDRESSES = 65_536;

/** Addresses of one family, or networks of one size. */
type Place = 4 | 6 | Prefix;

/** For how long addresses and networks are active from now, ms, by their canonical text. */
type Active = ReadonlyMap<string, number>;

/** Gives what `nft --json list set` prints of a set; `undefined` where there is none. */
type ListSet = (set: string) => Promise<string | undefined>;

/** The networks among these that are active. */
export async function activeAmong(
  networks: readonly Network[],
  listSet: ListSet,
): Promise<Active> {
  const sets = new Map(networks.map((network) => [activeSet(placeOf(network)), network.length]));
  const active = new Map<string, number>();
  for (const [set, length] of sets) {
    const listing = await listSet(set);
    for (const [text, leftMs] of listing ? parseActive(listing, length) : []) {
      active.set(text, leftMs);
    }
  }
  const asked = new Set(networks.map(formatNetwork));
  return new Map([...active].filter(([text]) => asked.has(text)));
}

/** What is to be in a new table with these openings beside `networks`. */
export function renderExtending(
  plan: GuardPlan,
  { openings, active, networks }: {
    readonly openings: readonly AddressOpenings[];
    readonly active: Active;
    readonly networks: RenderFurther | undefined;
  },
): RenderFurther {
  const places: readonly Place[] = [4, 6, ...prefixesIn(plan.prefixes, openings)];
  return (letIn, elements) => {
    const wide = networks?.(letIn, elements) ?? { sets: "", rules: [], chains: "" };
    const sets = places.flatMap((place) => [
      ...extendedSets(place).map((set) => renderOpeningSet(set, elements.get(set))),
      renderActiveSet(place, plan.activeMs!, elementsFor(place, openings, active)),
    ]);
    return {
      sets: wide.sets + sets.map((set) => `  ${set}\n`).join(""),
      // Only the client's own packets, and only where both sides have shown that they hear each other: a forged source
      // cannot.
      first: ["ct state established ct direction original ct status assured jump extend"],
      rules: [...wide.rules, ...places.flatMap((place) => renderOpen(place, letIn))],
      chains: `${wide.chains}  chain extend {\n${
        places.flatMap(renderNoting).map((rule) => `    ${rule}\n`).join("")
      }  }\n`,
    };
  };
}

/** The set of the addresses or networks whose connections were used a moment ago. */
function activeSet(place: Place): string {
  return `active${typeof place === "number" ? place : suffixOf(place)}`;
}

/** The elements of its set of active ones. A timeout of 0 would mean none at all. */
function elementsFor(
  place: Place,
  openings: readonly AddressOpenings[],
  active: Active,
): string[] {
  return openings.flatMap(({ address }) => {
    const leftMs = active.get(formatNetwork(address)) ?? 0;
    const isHere = leftMs >= 1 && activeSet(placeOf(address)) === activeSet(place);
    return isHere ? [`${formatAddress(address.base)} timeout ${Math.floor(leftMs)}ms`] : [];
  });
}

function renderActiveSet(place: Place, activeMs: number, elements: readonly string[]): string {
  const set = activeSet(place);
  const family = typeof place === "number" ? place : place.family;
  return `set ${set} { type ipv${family}_addr; size ${ACTIVE_ADDRESSES}; flags dynamic, timeout; timeout ${activeMs}ms;${
    renderSetElements(elements)
  } }`;
}

/** Rules of the guard that let in to what is extended from where it is active; from networks as their own rules say. */
function renderOpen(place: Place, letIn: string): string[] {
  const source = sourceOf(place);
  const verdict = typeof place === "number" ? letIn : `jump prefix${suffixOf(place)}`;
  return extendedSets(place).map((set) =>
    `${source} . meta l4proto . th dport @${set} ${source} @${activeSet(place)} ${verdict}`
  );
}

function renderNoting(place: Place): string[] {
  const source = sourceOf(place);
  return extendedSets(place).map((set) =>
    `${source} . meta l4proto . th dport @${set} update @${activeSet(place)} { ${source} }`
  );
}

function sourceOf(place: Place): string {
  if (typeof place === "number") return place === 4 ? "ip saddr" : "ip6 saddr";
  const { family, length } = place;
  return `${sourceOf(family)} & ${formatAddress(maskOf(family, length))}`;
}

function placeOf(network: Network): Place {
  return isSingle(network) ? network.base.family : prefixOf(network);
}

/** Which networks of one size are active, and for how long: whole seconds, rounded down. */
function parseActive(json: string, length: number): [text: string, leftMs: number][] {
  const elements = requireEntries(json).flatMap(({ set }) =>
    (set?.["elem"] ?? []) as readonly { elem?: { val?: unknown; expires?: unknown } }[]
  );
  return elements.flatMap(({ elem: { val, expires } = {} }) => {
    const address = typeof val === "string" ? parseAddress(val) : undefined;
    return address && typeof expires === "number"
      ? [[formatNetwork(networkOf(address, length)), expires * 1000] as [string, number]]
      : [];
  });
}
