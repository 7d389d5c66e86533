/** How what a firewall holds differs from what is to be guarded. Pure; each backend reads its own rules. */

import { formatPortRange, type PortRange, subtractPortRanges } from "../values/ports.ts";
import type { GuardPlan } from "./plan.ts";

/** What is not as the plan wants it, in words, and the ports of the plan that are not guarded. */
export interface Deviations {
  readonly wrong: readonly string[];
  readonly unguarded: readonly PortRange[];
}

/** Compares what a backend has read of its own rules; where the way to the guard is `broken`, it guards nothing. */
export function compareWithPlan(plan: GuardPlan, held: {
  broken: readonly string[];
  guarded: readonly PortRange[];
  forwarded: readonly PortRange[];
  interface: string | undefined;
}): Deviations {
  const [found, wanted] = [held.interface ?? "every interface", plan.interface ?? "every one"];
  const broken = held.interface === plan.interface
    ? held.broken
    : [...held.broken, `guarded is ${found}, not ${wanted}`];
  return {
    wrong: [
      ...broken,
      ...differences(held.guarded, plan.guardedPorts, "guarded"),
      ...differences(held.forwarded, plan.forwardedPorts, "guarded in forwarded traffic"),
    ],
    unguarded: subtractPortRanges(plan.guardedPorts, broken.length > 0 ? [] : held.guarded),
  };
}

/** A rule that must stand in a chain, and what to say where it does not. */
export type Step<Rule> = readonly [chain: string, is: (rule: Rule) => boolean, missing: string];

/** What is wrong on the way of a packet: a step that is missing, or a rule before it that lets everyone pass. */
export function checkSteps<Rule>(
  steps: readonly Step<Rule>[],
  rulesOf: (chain: string) => readonly Rule[],
  letsEveryonePass: (rule: Rule) => boolean,
): string[] {
  const wrong = steps.flatMap(([chain, is, missing]) => {
    const rules = rulesOf(chain);
    const at = rules.findIndex(is);
    if (at < 0) return missing;
    return rules.slice(0, at).some(letsEveryonePass)
      ? `a rule of the chain ${chain} lets everyone pass`
      : [];
  });
  return [...new Set(wrong)];
}

/** In words, which ports a firewall holds too few or too many; `what` says for what it holds them. */
function differences(
  held: readonly PortRange[],
  planned: readonly PortRange[],
  what: string,
): string[] {
  const list = (ranges: readonly PortRange[]) => ranges.map(formatPortRange).join(" ");
  const [missing, extra] = [subtractPortRanges(planned, held), subtractPortRanges(held, planned)];
  return [
    ...(missing.length > 0 ? [`not ${what}: ${list(missing)}`] : []),
    ...(extra.length > 0 ? [`${what} as well: ${list(extra)}`] : []),
  ];
}
