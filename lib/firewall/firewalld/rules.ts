/**
 * The rich rules of the firewalld backend (firewalld.richlanguage(5)), as pure functions. openme's rules are known by
 * a priority that no other rule uses; a second one lets a renewal stand before the old rule goes. Positive priorities come after
 * everything else that a zone says, and before what it does with the rest.
 */

import { formatNetwork, type Network, parseNetwork } from "../../values/network.ts";
import { parsePortSpec, type PortRange } from "../../values/ports.ts";

/** The two priorities of openme's rules. */
export const PRIORITIES = [31001, 31002] as const;
export type Priority = typeof PRIORITIES[number];

/** The rule that lets an address, or all of a network, in to these ports. */
export function renderRule(priority: Priority, address: Network, ports: PortRange): string {
  return `rule priority="${priority}" family="ipv${address.base.family}" source address="${
    formatNetwork(address)
  }" ${renderPorts(ports)} accept`;
}

/** The rule that lets knocks arrive. */
export function renderKnockRule(knockPort: number): string {
  const ports: PortRange = { protocol: "udp", first: knockPort, last: knockPort };
  return `rule priority="${PRIORITIES[0]}" ${renderPorts(ports)} accept`;
}

/** One opening that stands, as one rule in each zone. */
export interface Held {
  readonly address: Network;
  readonly ports: PortRange;
  readonly priority: Priority;
  /** Steady clock of this process, ms. */
  readonly endsAtMs: number;
}

export function ruleOf({ priority, address, ports }: Held): string {
  return renderRule(priority, address, ports);
}

export function keyOf(address: Network, { protocol, first, last }: PortRange): string {
  return `${formatNetwork(address)} ${protocol} ${first} ${last}`;
}

/** A rule of openme's, as firewalld lists it. */
export interface OwnRule {
  readonly text: string;
  /** Canonical text, of an address or a network. Without one it is the rule for knocks. */
  readonly address?: string;
  readonly ports: PortRange;
}

/**
 * The handles, the oldest first, of the rules for a source and ports in `nft --handle list table inet firewalld`: in the
 * chain that a zone's rich rules of a positive priority go to.
 */
export function handlesInTable(
  listing: string,
  { zone, source, ports: { protocol, first, last } }: {
    zone: string;
    source: Network;
    ports: PortRange;
  },
): number[] {
  const family = source.base.family === 6 ? "ip6" : "ip";
  const port = first === last ? first : `${first}-${last}`;
  const wanted = `${family} saddr ${formatNetwork(source)} ${protocol} dport ${port} accept`;
  const opening = `\n\tchain filter_IN_${zone}_post {`;
  const start = listing.indexOf(opening);
  if (start < 0) return [];
  const chain = listing.slice(start, listing.indexOf("\n\t}", start));
  return chain.split("\n").flatMap((line) => {
    const [, text, handle] = /^\t\t(.*) # handle (\d+)$/.exec(line) ?? [];
    return text === wanted ? [Number(handle)] : [];
  }).sort((a, b) => a - b);
}

/** openme's rules in what `--list-rich-rules` prints. */
export function parseOwnRules(listing: string): OwnRule[] {
  return listing.split("\n").flatMap((line) => {
    const text = line.trim();
    const match =
      /^rule priority="(?:31001|31002)"(?: family="ipv[46]" source address="([0-9a-f.:]+(?:\/\d+)?)")? port port="([\d-]+)" protocol="(tcp|udp)" accept$/
        .exec(text);
    const spec = match && parsePortSpec(`${match[2]}/${match[3]}`);
    if (!match || !spec || spec.protocol === "both") return [];
    const ports: PortRange = { ...spec, protocol: spec.protocol };
    if (match[1] === undefined) return [{ text, ports }];
    const address = parseNetwork(match[1]);
    return [{ text, ports, address: address ? formatNetwork(address) : match[1] }];
  });
}

/** What a zone lets everyone in to: its own ports, its services' names, and whether it is all. */
export function parseZone(
  listing: string,
): { ports: PortRange[]; services: string[]; acceptsAll: boolean } {
  const field = (name: string) =>
    new RegExp(`^ *${name}: *(.*)$`, "m").exec(listing)?.[1]?.split(" ").filter(Boolean) ?? [];
  return {
    ports: field("ports").flatMap(parseZonePort),
    services: field("services").filter((name) => /^[\w.-]+$/.test(name)),
    acceptsAll: field("target").includes("ACCEPT"),
  };
}

function parseZonePort(text: string): PortRange[] {
  const spec = parsePortSpec(text);
  return spec && spec.protocol !== "both" ? [{ ...spec, protocol: spec.protocol }] : [];
}

function renderPorts({ protocol, first, last }: PortRange): string {
  const port = first === last ? `${first}` : `${first}-${last}`;
  return `port port="${port}" protocol="${protocol}"`;
}
