/**
 * What of the guard stands in a mangle table, whoever put it there: the jump to it, the way to its end, what becomes of
 * a stranger there, and which ports are guarded. Pure; reads what `iptables -t mangle -S` prints.
 */

import {
  expandPortSpec,
  mergePortRanges,
  parsePortSpec,
  type PortRange,
  subtractPortRanges,
} from "../../values/ports.ts";
import { CHAIN, type GuardPlan } from "../plan.ts";
import { type Deviations, differences } from "../deviations.ts";

const [LOCAL, GUARD, GRANTS] = ["LOCAL", "GUARD", "GRANTS"].map((each) => `${CHAIN}_${each}`);

/** Compares one family's listing with the plan. */
export function examineMangle(plan: GuardPlan, listing: string): Deviations {
  const lines = listing.split("\n").map((line) => line.trim());
  if (!lines.includes(`-N ${CHAIN}`)) {
    return { wrong: [`the chain ${CHAIN} is not there`], unguarded: plan.guardedPorts };
  }
  const broken = examineWay(
    plan,
    (chain) =>
      lines.flatMap((line) =>
        line.startsWith(`-A ${chain} `) ? [line.slice(`-A ${chain} `.length)] : []
      ),
  );
  const held = guardedIn(LOCAL!, lines);
  const heldForwarded = guardedIn(CHAIN, lines);
  return {
    wrong: [
      ...broken,
      ...differences(held, plan.guardedPorts, "guarded"),
      ...differences(heldForwarded, plan.forwardedPorts, "guarded in forwarded traffic"),
    ],
    unguarded: broken.length > 0 ? plan.guardedPorts : subtractPortRanges(plan.guardedPorts, held),
  };
}

function examineWay(plan: GuardPlan, rulesOf: (chain: string) => string[]): string[] {
  const wrong: string[] = [];
  const jump = rulesOf("PREROUTING").indexOf(`-j ${CHAIN}`);
  if (jump < 0) wrong.push(`PREROUTING does not jump to ${CHAIN}`);
  else if (rulesOf("PREROUTING").slice(0, jump).includes("-j ACCEPT")) {
    wrong.push(`a rule accepts everything before the jump to ${CHAIN}`);
  }
  const way = rulesOf(CHAIN);
  const only = way.map((rule) => /^! -i (\S+) -j RETURN$/.exec(rule)?.[1]).find(Boolean);
  if (only !== plan.interface) {
    wrong.push(`guarded is ${only ?? "every interface"}, not ${plan.interface ?? "every one"}`);
  }
  const steps: readonly (readonly [string, string])[] = [
    [CHAIN, `-m addrtype --dst-type LOCAL -g ${LOCAL}`],
    [GUARD!, `-g ${GRANTS}`],
    ...(plan.dropPorts ? [[GRANTS!, "-j DROP"] as const] : []),
  ];
  for (const [chain, step] of steps) {
    const rules = rulesOf(chain);
    const at = rules.indexOf(step);
    if (at < 0) wrong.push(`the chain ${chain} lacks ${step}`);
    else if (rules.slice(0, at).some((rule) => /^-[jg] (ACCEPT|RETURN|OPENME\w*)$/.test(rule))) {
      wrong.push(`a rule of the chain ${chain} lets everyone pass`);
    }
  }
  if (!plan.dropPorts && rulesOf(GRANTS!).includes("-j DROP")) {
    wrong.push(`the chain ${GRANTS} drops, though drop_ports is false`);
  }
  return wrong;
}

/** The ports that rules of a chain send to the guard. */
function guardedIn(chain: string, lines: readonly string[]): PortRange[] {
  const pattern = new RegExp(
    `^-A ${chain} -p (tcp|udp) -m (?:tcp|udp) --dport (\\d+)(?::(\\d+))? -g ${GUARD}$`,
  );
  return mergePortRanges(lines.flatMap((line) => {
    const match = pattern.exec(line);
    const spec = match && parsePortSpec(`${match[2]}-${match[3] ?? match[2]}/${match[1]}`);
    return spec ? expandPortSpec(spec) : [];
  }));
}
