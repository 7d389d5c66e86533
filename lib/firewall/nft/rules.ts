/**
 * The rule text of the nftables backend, as pure functions: docs/firewalls.md explains why each rule is where it is.
 * Everything in the text is printed from parsed values.
 */

import type { AddressOpenings } from "../../grants.ts";
import { PACKET_SIZE, VERSION } from "../../packet.ts";
import type { PortRange } from "../../values/ports.ts";
import type { KnockStamp, Standing } from "../backend.ts";
import { type GuardPlan, TABLE } from "../plan.ts";
import type { Connection } from "../host/sockets.ts";
import { formatMark, formatUnmark } from "../host/hole.ts";
import { elementsIn, portProtocol } from "../host/nft_listing.ts";
import { renderKeepChain, renderKeptRules, renderKeptSets } from "./kept_connections.ts";
import {
  elementsBySet,
  openingSets,
  renderOpeningSet,
  renderPorts,
  renderSetElements,
} from "./sets.ts";
import type { ProcessName } from "../owner.ts";
import { renderStampSet, renderUnstamped } from "./stamps.ts";

/** Where the guard sits in prerouting. */
export const GUARD_PRIORITY = -110;

/** UDP header (8 bytes) and knock. */
const KNOCK_LENGTH = 8 + PACKET_SIZE;

/**
 * Right-sized packets a second from one source (a /64 in IPv6) before the kernel drops the rest: far more than all
 * clients behind one NAT send. An attacker who forges an address to shut it out must send as many.
 */
const KNOCKS_PER_SOURCE = "limit rate over 2000/second burst 1000 packets";
/** Sources that are counted at a time. A full set lets packets through. */
const METERED_SOURCES = 65535;

/** What a table holds beside all else: for grants of networks, and for what stays open while it is used. */
export interface FurtherText {
  readonly sets: string;
  /** Of the chain `guard`: before what is established is let in, and after what is granted. */
  readonly first?: readonly string[];
  readonly rules: readonly string[];
  readonly chains: string;
}

/** Renders it; `letIn` is the end of a rule that lets a packet in. */
export type RenderFurther = (
  letIn: string,
  elements: ReadonlyMap<string, readonly string[]>,
) => FurtherText;

/**
 * One transaction that puts the whole table in place with these openings, replacing one that is there.
 *
 * - `knocks` runs at raw (-300): junk for the knock port never costs a conntrack entry, and real knocks cost none where
 *   openme lets them in.
 * - `prerouting` runs at -110: after conntrack and after mangle (-150), where others restore marks; before destination
 *   NAT (-100), so that ports which containers publish are guarded by the number that the world sees.
 */
export function renderTable(
  plan: GuardPlan,
  { openings, kept, hole, further, owner, stamps }: {
    openings: readonly AddressOpenings[];
    kept: readonly Connection[];
    hole: boolean;
    further?: RenderFurther | undefined;
    /** The process that keeps the table, where that can be told. */
    owner?: ProcessName | undefined;
    /** Without them the table does not tell stamped knocks from others. */
    stamps?: readonly KnockStamp[] | undefined;
  },
): string {
  const letIn = hole ? `meta mark set meta mark | ${formatMark(plan.mark)} accept` : "accept";
  const knockIn = hole && !plan.openKnockPort ? "accept" : letIn;
  const scope = [
    ...(plan.interface === undefined ? [] : [`iifname != "${plan.interface}" accept`]),
    `iif "lo" accept`,
  ];
  // No packet comes in with the mark: only openme sets it.
  const unmark = hole ? [`meta mark set meta mark & ${formatUnmark(plan.mark)}`] : [];
  const unstamped = stamps ? renderUnstamped(plan) : { before: [], behind: [] };
  const elements = elementsBySet(openings);
  const more = further?.(letIn, elements) ?? { sets: "", rules: [], chains: "" };
  return `add table ${TABLE}
delete table ${TABLE}
table ${TABLE} {
${
    ([4, 6] as const).flatMap(openingSets).map((set) =>
      `  ${renderOpeningSet(set, elements.get(set))}\n`
    ).join("")
  }${more.sets}  set guarded { type inet_proto . inet_service; flags interval;${
    renderSetElements(plan.guardedPorts.map(renderPorts))
  } }
  set forwarded { type inet_proto . inet_service; flags interval;${
    renderSetElements(plan.forwardedPorts.map(renderPorts))
  } }
${
    renderKeptSets(kept)
  }  set knockers4 { type ipv4_addr; size ${METERED_SOURCES}; flags dynamic, timeout; timeout 10s; }
  set knockers6 { type ipv6_addr; size ${METERED_SOURCES}; flags dynamic, timeout; timeout 10s; }
${stamps ? `  ${renderStampSet(stamps)}\n` : ""}  chain knocks {
    type filter hook prerouting priority -300; policy accept;
    ${scope.join("\n    ")}
    ${renderIfLocal("knock").map((rule) => `udp dport ${plan.knockPort} ${rule}`).join("\n    ")}
  }
  chain knock {
    ${
    [
      `udp length != ${KNOCK_LENGTH} counter drop`,
      `@th,64,8 != ${VERSION} counter drop`,
      ...unstamped.before,
      `update @knockers4 { ip saddr ${KNOCKS_PER_SOURCE} } counter drop`,
      `update @knockers6 { ip6 saddr & ffff:ffff:ffff:ffff:: ${KNOCKS_PER_SOURCE} } counter drop`,
      ...unstamped.behind,
      // Where the host lets knocks in by a rule of its own, that may ask for new connections.
      ...(plan.openKnockPort ? ["notrack"] : []),
    ].join("\n    ")
  }
  }
  chain prerouting {
    type filter hook prerouting priority ${GUARD_PRIORITY}; policy accept;
    ${[...unmark, ...scope, ...renderIfLocal("local")].join("\n    ")}
    meta l4proto . th dport @forwarded goto guard
  }
  chain local {
    udp dport ${plan.knockPort} ${knockIn}
    meta l4proto . th dport @guarded ct state established jump keep
    meta l4proto . th dport @guarded goto guard
  }
${renderKeepChain()}  chain guard {
    ${[...more.first ?? [], `ct state established ${letIn}`].join("\n    ")}
${
    ([4, 6] as const).flatMap((family) =>
      openingSets(family).map((set) =>
        `    ${family === 4 ? "ip" : "ip6"} saddr . meta l4proto . th dport @${set} ${letIn}\n`
      )
    ).join("")
  }${more.rules.map((rule) => `    ${rule}\n`).join("")}    ${
    [...renderKeptRules(letIn), renderEnd(plan)].join("\n    ")
  }
  }
${more.chains}${owner ? `  chain ${renderOwner(owner)} { }\n` : ""}}
`;
}

/**
 * Rules that go to `chain` with what is for this host itself, and not to be forwarded. `local` alone would leave guarded
 * UDP ports answering on the broadcast address and on multicast groups.
 *
 * - Without the interface only the main tables are asked: the address of a VRF is not in them.
 * - With it the VRF's tables are asked, but an address of another interface than the one that a packet came in by does not
 *   count as local, though the kernel takes the packet.
 * - Both at once, in a VRF, are found by the second pass, in which the packet comes from the VRF: what has no way out
 *   there is not forwarded.
 */
function renderIfLocal(chain: string): string[] {
  const types = "{ local, broadcast, multicast, anycast }";
  return [
    `fib daddr type ${types} goto ${chain}`,
    `fib daddr . iif type ${types} goto ${chain}`,
    `meta iifkind "vrf" fib daddr oif missing goto ${chain}`,
  ];
}

/** The end for all other packets. A refusal looks like that of a closed port. */
function renderEnd({ dropPorts, closedAs }: GuardPlan): string {
  if (!dropPorts) return "counter accept";
  if (closedAs === "drop") return "counter drop";
  return "meta l4proto tcp counter reject with tcp reset\n    counter reject with icmpx type port-unreachable";
}

/** An empty chain whose name says whose table it is. */
function renderOwner({ pid, startTicks }: ProcessName): string {
  return `owner_${pid}_${startTicks}`;
}

/** The owner of the table in a listing, where it names one. */
export function parseOwner(listing: string): ProcessName | undefined {
  const match = /^\s*chain owner_(\d{1,10})_(\d{1,20}) \{/m.exec(listing);
  return match ? { pid: Number(match[1]), startTicks: match[2]! } : undefined;
}

/** What the knock chain has dropped: its counters, by what their rules look at. */
export function parseKnockCounters(listing: string): Record<string, number> {
  const drops = { size: 0, version: 0, rate: 0, unstamped: 0 };
  for (const line of listing.split("\n")) {
    const packets = /counter packets (\d{1,15}) bytes \d+ drop/.exec(line)?.[1];
    if (packets === undefined) continue;
    const reason = line.includes("@stamps")
      ? "unstamped"
      : line.includes("@knockers")
      ? "rate"
      : line.includes("udp length")
      ? "size"
      : "version";
    drops[reason] += Number(packets);
  }
  return drops;
}

/**
 * The grants in what `nft --json list set` prints of a set of openings; `length` is that of its networks, where it is
 * not of addresses.
 */
export function parseGranted(json: string, length?: number): Standing[] {
  return elementsIn(json).flatMap((element) => {
    const [address, ...rest] = (element as { concat?: unknown[] }).concat ?? [];
    const ports = portsOf(rest);
    return typeof address === "string" && ports
      ? [{ address: length === undefined ? address : `${address}/${length}`, ports: [ports] }]
      : [];
  });
}

/** The ports in what `nft --json list set` prints of `guarded` or `forwarded`. */
export function parsePortSet(json: string): PortRange[] {
  return elementsIn(json).flatMap((element) =>
    portsOf((element as { concat?: unknown[] }).concat ?? []) ?? []
  );
}

/** `tcp . 22` or `tcp . 22-25`, as JSON. */
function portsOf([value, port]: readonly unknown[]): PortRange | undefined {
  const [first, last] = (port as { range?: [number, number] } | undefined)?.range ?? [port, port];
  const protocol = portProtocol(value);
  return protocol && { protocol, first: Number(first), last: Number(last) };
}

/** One transaction that takes the table out, whether it is there or not. */
export function renderRemoval(): string {
  return `add table ${TABLE}\ndelete table ${TABLE}\n`;
}
