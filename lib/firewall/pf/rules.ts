/**
 * The rule text of the pf backend, as pure functions; the grammar is that of pf.conf(5), as FreeBSD, OpenBSD and macOS
 * share it. Everything in the text is printed from parsed values.
 */

import { parsePortSpec, type PortRange, subtractPortRanges } from "../../values/ports.ts";
import type { GuardPlan } from "../plan.ts";

export const ANCHOR = "openme";
/** The line that the administrator's pf.conf needs, behind all rules that pass or block the same traffic. */
export const ANCHOR_LINE = `anchor "${ANCHOR}"`;

/** In parentheses, or it would mean the addresses that this machine has when the rules are loaded. */
const SELF = "(self)";

/** The table of the addresses that may reach these ports. At most 31 characters. */
export function tableOf({ protocol, first, last }: PortRange): string {
  return `openme_${protocol}_${first}_${last}`;
}

/** The ports of a table, by its name. */
export function portsOfTable(table: string): PortRange | undefined {
  const match = /^openme_(tcp|udp)_(\d+)_(\d+)$/.exec(table);
  const spec = match && parsePortSpec(`${match[2]}-${match[3]}/${match[1]}`);
  return spec && spec.protocol !== "both" ? { ...spec, protocol: spec.protocol } : undefined;
}

/** What may be reached: canonical texts of addresses by the table of their ports. */
export type Tables = ReadonlyMap<string, { ports: PortRange; addresses: readonly string[] }>;

/**
 * The whole anchor, as `pfctl -a openme -f -` reads it in one transaction, tables and their addresses included. The
 * first rule that matches holds (`quick`).
 *
 * Packets of a connection that pf knows pass before any rule is looked at, so that sessions live on when a grant ends;
 * `flags S/SA` keeps a packet from the middle of an unknown one from making a state. Knocks need none (`no state`):
 * nothing is ever answered.
 */
export function renderAnchor(plan: GuardPlan, tables: Tables): string {
  // Loopback is left to the host's own rules.
  const on = plan.interface === undefined ? " on ! lo0" : ` on ${plan.interface}`;
  const knock: PortRange = { protocol: "udp", first: plan.knockPort, last: plan.knockPort };
  const action = plan.closedAs === "reject" ? "block return" : "block drop";
  const rule = (verb: string, { protocol, first, last }: PortRange, from: string, target: string) =>
    `${verb} in quick${on} proto ${protocol} from ${from} to ${target} port ${
      first === last ? first : `${first}:${last}`
    }`;
  const sorted = [...tables].sort(([a], [b]) => a < b ? -1 : 1);
  const lines = [
    ...sorted.map(([name, { addresses }]) =>
      `table <${name}> persist${addresses.length > 0 ? ` { ${addresses.join(", ")} }` : ""}`
    ),
    ...(plan.openKnockPort ? [rule("pass", knock, "any", SELF) + " no state"] : []),
    ...sorted.map(([name, { ports }]) =>
      rule("pass", ports, `<${name}>`, targetOf(plan, ports)) +
      (ports.protocol === "tcp" ? " flags S/SA keep state" : " keep state")
    ),
    ...(plan.dropPorts
      ? [
        // Knocks must arrive, also where the host's own rules let them in.
        ...subtractPortRanges(plan.guardedPorts, [knock]).map((ports) =>
          rule(action, ports, "any", SELF)
        ),
        ...plan.forwardedPorts.map((ports) => rule(action, ports, "any", `! ${SELF}`)),
      ]
      : []),
  ];
  return lines.map((line) => line + "\n").join("");
}

function targetOf(plan: GuardPlan, ports: PortRange): string {
  return isForwarded(plan, ports) ? "any" : SELF;
}

/** Whether a range is guarded in forwarded traffic too. */
function isForwarded({ forwardedPorts }: GuardPlan, { protocol, first, last }: PortRange): boolean {
  return forwardedPorts.some((each) =>
    each.protocol === protocol && each.first <= first && last <= each.last
  );
}
