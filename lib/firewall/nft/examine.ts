/**
 * What of the guard stands in nftables, whoever put it there: the table, its hook, the way into the chain `guard`, what
 * becomes of a stranger there, and which ports are guarded. Pure; reads what `nft --json list` prints.
 */

import { type PortRange, subtractPortRanges } from "../../values/ports.ts";
import { type GuardPlan, TABLE } from "../plan.ts";
import { type Deviations, differences } from "../deviations.ts";
import { verdictOf } from "../host/chain.ts";
import { GUARD_PRIORITY } from "./rules.ts";

type Entry = Record<string, unknown>;
type Expressions = readonly unknown[];

/**
 * Compares openme's table, as `nft --json --terse list table` and `list set` show it, with the plan; `text` is the table
 * without `--json`.
 */
export function examineTable(
  plan: GuardPlan,
  { text, table, guarded, forwarded }: {
    text: string;
    table: string;
    guarded: string;
    forwarded: string;
  },
): Deviations {
  // nft 1.0.6 prints the flags of a table cut short in JSON.
  const dormant = /^\s*flags .*\bdormant\b/m.test(text) ? [`the table ${TABLE} is dormant`] : [];
  const broken = [...dormant, ...examineWay(entriesOf(table), plan)];
  const held = parsePortSet(guarded);
  const heldForwarded = parsePortSet(forwarded);
  return {
    wrong: [
      ...broken,
      ...differences(held, plan.guardedPorts, "guarded"),
      ...differences(heldForwarded, plan.forwardedPorts, "guarded in forwarded traffic"),
    ],
    unguarded: broken.length > 0 ? plan.guardedPorts : subtractPortRanges(plan.guardedPorts, held),
  };
}

/** The hook, the way from it to the chain `guard`, and the end of that. */
function examineWay(entries: readonly Record<string, Entry>[], plan: GuardPlan): string[] {
  const rulesOf = (name: string): Expressions[] =>
    entries.flatMap(({ rule }) =>
      rule?.["chain"] === name && Array.isArray(rule["expr"]) ? [rule["expr"]] : []
    );
  const hook = entries.find(({ chain }) => chain?.["name"] === "prerouting")?.["chain"];
  if (hook?.["hook"] !== "prerouting" || hook["prio"] !== GUARD_PRIORITY) {
    return ["the chain prerouting is not there, or hangs on no hook"];
  }
  const wrong: string[] = [];
  const [way, local] = [rulesOf("prerouting"), rulesOf("local")];
  const toGuard = (rules: readonly Expressions[], set: string) =>
    rules.findIndex((rule) => leadsTo(rule, "guard") && mentions(rule, `@${set}`));
  const toLocal = way.findIndex((rule) => leadsTo(rule, "local"));
  const at = toGuard(local, "guarded");
  if (toLocal < 0 || at < 0) wrong.push("no rule leads to the chain guard");
  else if ([...way.slice(0, toLocal), ...local.slice(0, at)].some(letsEveryonePass)) {
    wrong.push("a rule lets everyone pass before the chain guard");
  }
  if (plan.forwardedPorts.length > 0 && toGuard(way, "forwarded") < 0) {
    wrong.push("no rule leads forwarded traffic to the chain guard");
  }
  const only = way.flatMap(interfaceOf)[0];
  if (only !== plan.interface) {
    wrong.push(`guarded is ${only ?? "every interface"}, not ${plan.interface ?? "every one"}`);
  }
  return [...wrong, ...examineEnd(rulesOf("guard"), plan)];
}

function examineEnd(rules: readonly Expressions[], { dropPorts }: GuardPlan): string[] {
  const end = rules.at(-1);
  const drops = end !== undefined && !hasMatch(end) &&
    end.some((each) => ["drop", "reject"].includes(verdictOf(each)));
  if (dropPorts && !drops) return ["the chain guard does not end in a rule that drops"];
  if (!dropPorts && drops) return ["the chain guard drops, though drop_ports is false"];
  return dropPorts && rules.slice(0, -1).some(letsEveryonePass)
    ? ["a rule of the chain guard lets everyone pass"]
    : [];
}

/** The ports in what `nft --json list set` prints of `guarded` or `forwarded`. */
export function parsePortSet(json: string): PortRange[] {
  const elements = entriesOf(json).flatMap(({ set }) =>
    Array.isArray(set?.["elem"]) ? set["elem"] as unknown[] : []
  );
  return elements.flatMap((element) => {
    const value = (element as { elem?: { val?: unknown } }).elem?.val ?? element;
    const [protocol, port] = (value as { concat?: unknown[] }).concat ?? [];
    const [first, last] = (port as { range?: [number, number] })?.range ?? [port, port];
    return protocol === "tcp" || protocol === "udp"
      ? [{ protocol, first: Number(first), last: Number(last) }]
      : [];
  });
}

function letsEveryonePass(rule: Expressions): boolean {
  return !hasMatch(rule) &&
    rule.some((each) => ["accept", "return", "jump", "goto"].includes(verdictOf(each)));
}

function hasMatch(rule: Expressions): boolean {
  return rule.some((each) => ["match", "limit"].includes(verdictOf(each)));
}

function leadsTo(rule: Expressions, chain: string): boolean {
  return rule.some((each) => (each as { goto?: { target?: string } }).goto?.target === chain);
}

function mentions(rule: Expressions, set: string): boolean {
  return rule.some((each) => (each as { match?: { right?: unknown } }).match?.right === set);
}

/** The interface that a rule of openme's leaves to the guard, all others being let through. */
function interfaceOf(rule: Expressions): string[] {
  const { left, op, right } = (rule[0] as {
    match?: { left?: { meta?: { key?: string } }; op?: string; right?: unknown };
  })?.match ?? {};
  return left?.meta?.key === "iifname" && op === "!=" && typeof right === "string" ? [right] : [];
}

function entriesOf(json: string): Record<string, Entry>[] {
  return (JSON.parse(json) as { nftables?: Record<string, Entry>[] }).nftables ?? [];
}
