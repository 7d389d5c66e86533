/**
 * Compares the guard that stands in a mangle table with the plan: the rules that lead a packet from PREROUTING to the end
 * of the guard, and which ports are guarded. Pure; reads what `iptables -t mangle -S` prints.
 */

import { mergePortRanges, type PortRange } from "../../values/ports.ts";
import { checkSteps, compareWithPlan, type Deviations, type Step } from "../deviations.ts";
import { CHAIN, type GuardPlan } from "../plan.ts";
import { dropsUnstamped, UNSTAMPED } from "./knocks.ts";
import { GRANTS, GUARD, LOCAL, parsePorts } from "./own_chains.ts";

/** Compares one family's listing with the plan. */
export function examineMangle(plan: GuardPlan, listing: string): Deviations {
  const lines = listing.split("\n").map((line) => line.trim());
  if (!lines.includes(`-N ${CHAIN}`)) {
    return { wrong: [`the chain ${CHAIN} is not there`], unguarded: plan.guardedPorts };
  }
  const rulesOf = (chain: string) => {
    const start = `-A ${chain} `;
    return lines.flatMap((line) => line.startsWith(start) ? [line.slice(start.length)] : []);
  };
  const step = (
    chain: string,
    rule: string,
  ): Step<string> => [chain, (each) => each === rule, `the chain ${chain} lacks ${rule}`];
  const steps: Step<string>[] = [
    ["PREROUTING", (each) => each === `-j ${CHAIN}`, `PREROUTING does not jump to ${CHAIN}`],
    step(CHAIN, `-m addrtype --dst-type LOCAL -g ${LOCAL}`),
    step(GUARD, `-g ${GRANTS}`),
    ...(plan.dropPorts ? [step(GRANTS, "-j DROP")] : []),
  ];
  const broken = checkSteps(
    steps,
    rulesOf,
    (rule) => /^-[jg] (ACCEPT|RETURN|OPENME\w*)$/.test(rule),
  );
  if (!plan.dropPorts && rulesOf(GRANTS).includes("-j DROP")) {
    broken.push(`the chain ${GRANTS} drops, though drop_ports is false`);
  }
  const compared = compareWithPlan(plan, {
    broken,
    guarded: guardedIn(rulesOf(LOCAL)),
    forwarded: guardedIn(rulesOf(CHAIN)),
    interface: rulesOf(CHAIN).map((rule) => /^! -i (\S+) -j RETURN$/.exec(rule)?.[1]).find(Boolean),
  });
  const drops = dropsUnstamped(rulesOf);
  if (drops === undefined || drops === plan.onlyStampedKnocks) return compared;
  const flaw = `the chain ${UNSTAMPED} ${drops ? "drops all" : "lets pass some"} knocks without ` +
    `a stamp, though only_stamped_knocks is ${plan.onlyStampedKnocks}`;
  return { ...compared, wrong: [...compared.wrong, flaw] };
}

/** The ports that rules send to the guard. */
function guardedIn(rules: readonly string[]): PortRange[] {
  return mergePortRanges(
    rules.filter((rule) => rule.endsWith(` -g ${GUARD}`)).flatMap((rule) => parsePorts(rule) ?? []),
  );
}
