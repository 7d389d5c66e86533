/**
 * The rule text of the iptables backend, as pure functions: what `iptables-restore --noflush` reads. docs/firewalls.md
 * explains the chains. Everything in the text is printed from parsed values.
 */

import { inTable } from "../host/read_iptables.ts";
import { formatAddress } from "../../values/address.ts";
import { formatNetwork, type Network } from "../../values/network.ts";
import type { PortRange } from "../../values/ports.ts";
import type { KnockStamp } from "../backend.ts";
import { CHAIN, type GuardPlan } from "../plan.ts";
import type { Connection } from "../host/sockets.ts";
import type { Family } from "../host/families.ts";
import { formatMark } from "../host/hole.ts";
import { KNOCK, knockChains, renderKnockRules } from "./knocks.ts";
import {
  ALLOW,
  GRANTS,
  GUARD,
  LOCAL,
  MADE_TABLE,
  type OwnChains,
  renderOwner,
} from "./own_chains.ts";
import type { ProcessName } from "../owner.ts";

/** Where the guard sits in prerouting: that of the mangle table. */
export const GUARD_PRIORITY = -150;

/** xt_time knows no dates after 2038-01-19: an opening that ends later ends then. */
const LAST_DATE_MS = Date.UTC(2038, 0, 19);

/** One opening: an address, its ports, and when it ends. */
export interface DatedOpening {
  readonly address: Network;
  readonly ports: PortRange;
  /** Wall clock, ms since 1970. */
  readonly endsAtMs: number;
}

/**
 * One `iptables-restore` that puts all chains in place with these openings. A chain that is declared is emptied by it,
 * so what was there is replaced in the same commit; chains that are not wanted any more go.
 */
export function renderChains(
  family: Family,
  plan: GuardPlan,
  { openings, kept, stamps, hole, owner, present, madeTable }: {
    openings: readonly DatedOpening[];
    kept: readonly Connection[];
    /** Without them no rule tells stamped knocks from others. */
    stamps: readonly KnockStamp[] | undefined;
    hole: boolean;
    owner: ProcessName | undefined;
    present: OwnChains;
    madeTable: boolean;
  },
): string {
  const own = [CHAIN, LOCAL, ...knockChains(stamps !== undefined), GUARD, GRANTS, ALLOW];
  const named = [...madeTable ? [MADE_TABLE] : [], ...owner ? [renderOwner(owner)] : []];
  const gone = present.chains.filter((chain) => ![...own, ...named].includes(chain));
  // IPv6 knows no broadcast, and takes a list of types as "all of them".
  const types = family === 4
    ? ["LOCAL", "BROADCAST", "MULTICAST", "ANYCAST"]
    : ["LOCAL", "MULTICAST", "ANYCAST"];
  const mark = formatMark(plan.mark);
  const lines = [
    ...[...own, ...named].map((chain) => `:${chain} - [0:0]`),
    // No packet comes in with the mark: only openme sets it.
    ...(hole ? [`-A ${CHAIN} -j MARK --set-xmark 0x0/${mark}`] : []),
    ...(plan.interface === undefined ? [] : [`-A ${CHAIN} ! -i ${plan.interface} -j RETURN`]),
    `-A ${CHAIN} -i lo -j RETURN`,
    // Without the interface the address of a VRF is not local; with it, none of another interface is (nft/rules.ts).
    ...["", " --limit-iface-in"].flatMap((where) =>
      types.map((type) => `-A ${CHAIN} -m addrtype --dst-type ${type}${where} -g ${LOCAL}`)
    ),
    ...plan.forwardedPorts.map((range) => `-A ${CHAIN} ${renderPorts(range)} -g ${GUARD}`),
    `-A ${LOCAL} -p udp -m udp --dport ${plan.knockPort} -g ${KNOCK}`,
    ...plan.guardedPorts.map((range) => `-A ${LOCAL} ${renderPorts(range)} -g ${GUARD}`),
    ...renderKnockRules(family, plan, { stamps, allow: ALLOW }),
    `-A ${GUARD} -m conntrack --ctstate ESTABLISHED -g ${ALLOW}`,
    ...kept.filter(({ remote }) => remote.family === family).map((connection) =>
      `-A ${GUARD} ${renderConnection(connection)} -g ${ALLOW}`
    ),
    `-A ${GUARD} -g ${GRANTS}`,
    ...renderGrantRules(family, plan, openings),
    ...(hole ? [`-A ${ALLOW} -j MARK --set-xmark ${mark}/${mark}`] : []),
    ...(present.isFirst && present.jumps === 1
      ? []
      : [...renderJumpRemoval(present), `-I PREROUTING 1 -j ${CHAIN}`]),
    ...gone.flatMap((chain) => [`-F ${chain}`, `-X ${chain}`]),
  ];
  return inTable("mangle", lines);
}

/** One `iptables-restore` that puts these openings in place of all others. */
export function renderGrants(
  family: Family,
  plan: GuardPlan,
  openings: readonly DatedOpening[],
): string {
  return inTable("mangle", [`:${GRANTS} - [0:0]`, ...renderGrantRules(family, plan, openings)]);
}

/** One `iptables-restore` that takes every chain out again. */
export function renderRemoval(own: OwnChains): string {
  const { chains } = own;
  if (chains.length === 0) return "";
  return inTable("mangle", [
    ...renderJumpRemoval(own),
    ...chains.map((chain) => `-F ${chain}`),
    ...chains.map((chain) => `-X ${chain}`),
  ]);
}

function renderJumpRemoval({ jumps }: OwnChains): string[] {
  return Array.from({ length: jumps }, () => `-D PREROUTING -j ${CHAIN}`);
}

function renderGrantRules(
  family: Family,
  plan: GuardPlan,
  openings: readonly DatedOpening[],
): string[] {
  return [
    ...openings.filter(({ address }) => address.base.family === family).flatMap(
      ({ address, ports, endsAtMs }) => {
        const stop = renderDateStop(endsAtMs);
        return `-A ${GRANTS} -s ${formatNetwork(address)} ${
          renderPorts(ports)
        } -m time --datestop ${stop} -g ${ALLOW}`;
      },
    ),
    ...(plan.dropPorts ? [`-A ${GRANTS} -j DROP`] : []),
  ];
}

/** Whole seconds, the last one included: the end rounded down, less one. UTC. */
export function renderDateStop(endsAtMs: number): string {
  const lastSecondMs = Math.floor(Math.min(endsAtMs, LAST_DATE_MS) / 1000) * 1000 - 1000;
  return new Date(lastSecondMs).toISOString().slice(0, 19);
}

function renderPorts({ protocol, first, last }: PortRange): string {
  return `-p ${protocol} -m ${protocol} --dport ${first === last ? first : `${first}:${last}`}`;
}

function renderConnection({ remote, remotePort, local, localPort }: Connection): string {
  return `-s ${formatAddress(remote)} -d ${
    formatAddress(local)
  } -p tcp -m tcp --sport ${remotePort} --dport ${localPort} ! --tcp-flags FIN,SYN,RST,ACK SYN`;
}
