/**
 * Compares the guard that stands in nftables with the plan: the rules that lead a packet from the hook to the end of the
 * chain `guard`, and which ports are guarded. Pure; reads what `nft --json list` prints.
 */

import { checkSteps, compareWithPlan, type Deviations, type Step } from "../deviations.ts";
import { verdictOf } from "../host/chain.ts";
import { requireEntries } from "../host/nft_listing.ts";
import { type GuardPlan, TABLE } from "../plan.ts";
import { GUARD_PRIORITY, parsePortSet } from "./rules.ts";

type Rule = readonly unknown[];

/** The chains that are compared with the plan. */
export const EXAMINED_CHAINS = ["prerouting", "local", "guard"] as const;

/**
 * Compares openme's table with the plan: `chains` as `nft --json --terse list chain` shows each, the sets as `list set`
 * does, `text` as `list table` does without `--json`.
 */
export function examineTable(
  plan: GuardPlan,
  { text, chains, guarded, forwarded }: {
    text: string;
    chains: readonly string[];
    guarded: string;
    forwarded: string;
  },
): Deviations {
  const entries = chains.flatMap(requireEntries);
  const rulesOf = (name: string): Rule[] =>
    entries.flatMap(({ rule }) =>
      rule?.["chain"] === name && Array.isArray(rule["expr"]) ? [rule["expr"]] : []
    );
  const hook = entries.find(({ chain }) => chain?.["name"] === "prerouting")?.chain;
  const isHooked = hook?.["hook"] === "prerouting" && hook["prio"] === GUARD_PRIORITY;
  // nft 1.0.6 prints the flags of a table cut short in JSON.
  const isDormant = /^\s*flags .*\bdormant\b/m.test(text);
  return compareWithPlan(plan, {
    broken: [
      ...(isDormant ? [`the table ${TABLE} is dormant`] : []),
      ...(isHooked ? [] : ["the chain prerouting is not there, or hangs on no hook"]),
      ...checkSteps(stepsOf(plan), rulesOf, letsEveryonePass),
      ...(!plan.dropPorts && rulesOf("guard").some(drops)
        ? ["the chain guard drops, though drop_ports is false"]
        : []),
    ],
    guarded: parsePortSet(guarded),
    forwarded: parsePortSet(forwarded),
    interface: /chain prerouting \{[^}]*iifname != "([^"]+)" accept/.exec(text)?.[1],
  });
}

function stepsOf({ dropPorts, forwardedPorts }: GuardPlan): Step<Rule>[] {
  const leads = "no rule leads to the chain guard";
  const forwards = "no rule leads forwarded traffic to the chain guard";
  const ends = "the chain guard does not end in a rule that drops";
  const steps: Step<Rule>[] = [
    ["prerouting", (rule) => goesTo(rule, "local"), leads],
    ["local", (rule) => goesTo(rule, "guard", "@guarded"), leads],
  ];
  if (forwardedPorts.length > 0) {
    steps.push(["prerouting", (rule) => goesTo(rule, "guard", "@forwarded"), forwards]);
  }
  return dropPorts ? [...steps, ["guard", drops, ends]] : steps;
}

function goesTo(rule: Rule, chain: string, set = ""): boolean {
  const text = JSON.stringify(rule);
  return text.includes(`{"goto":{"target":"${chain}"}}`) && text.includes(set);
}

function drops(rule: Rule): boolean {
  return isForEveryone(rule, ["drop", "reject"]);
}

function letsEveryonePass(rule: Rule): boolean {
  return isForEveryone(rule, ["accept", "return", "jump", "goto"]);
}

function isForEveryone(rule: Rule, verdicts: readonly string[]): boolean {
  const words = rule.map(verdictOf);
  return !words.includes("match") && !words.includes("limit") &&
    words.some((word) => verdicts.includes(word));
}
