/**
 * The host's own nftables rules: their base chains, openme's holes in them, and which ports they send elsewhere. Reads
 * the entries of `nft --json --terse list ruleset`; pure.
 */

import type { PortRange } from "../../values/ports.ts";
import { CHAIN, HOLE_COMMENT } from "../plan.ts";
import { type HostChain, type HostRule, verdictOf } from "./chain.ts";
import { elementsIn, type Entry } from "./nft_listing.ts";

const HOOKS = ["input", "forward", "prerouting"] as const;

/**
 * The base chains in a listing, without those of openme's own table; `owned` are the tables that take no rule from
 * others.
 */
export function parseHostChains(
  entries: readonly Entry[],
  owned: ReadonlySet<string> = new Set(),
): HostChain[] {
  const tables = new Map<string, Map<string, HostRule[]>>();
  const bases: HostChain[] = [];
  for (const { chain, rule } of entries) {
    const { family, table } = (chain ?? rule ?? {}) as Record<string, string>;
    if (!["inet", "ip", "ip6"].includes(family!)) continue;
    const key = `${family} ${table}`;
    const subchains = tables.get(key) ?? new Map<string, HostRule[]>();
    tables.set(key, subchains);
    const name = String(chain ? chain["name"] : rule!["chain"]);
    const rules = subchains.get(name) ?? [];
    subchains.set(name, rules);
    const hook = HOOKS.find((each) => each === chain?.["hook"]);
    if (chain && hook && chain["type"] === "filter" && table !== "openme") {
      bases.push({
        program: "nft",
        family: family!,
        table: table!,
        name,
        hook,
        priority: Number(chain["prio"]),
        owned: owned.has(key),
        dropsByPolicy: chain["policy"] === "drop",
        rules,
        subchains,
      });
    }
    const expressions = Array.isArray(rule?.["expr"]) ? rule["expr"] : [];
    // A jump that an iptables backend of openme's left is no rule of the host's.
    if (!rule || expressions.some(isJumpToOpenme)) continue;
    const isHole = rule["comment"] === HOLE_COMMENT;
    rules.push({ handle: Number(rule["handle"]), isHole, expressions });
  }
  return bases;
}

function isJumpToOpenme(expression: unknown): boolean {
  return (expression as { jump?: { target?: unknown } | null }).jump?.target === CHAIN;
}

/** The ports that rules with destination NAT send elsewhere. */
export interface Published {
  readonly ports: readonly PortRange[];
  /** Named maps whose keys are such ports, as `FAMILY TABLE NAME`. */
  readonly maps: readonly string[];
  /** Whether a rule does not say which ports. */
  readonly unknown: boolean;
}

export function publishedInRules(entries: readonly Entry[]): Published {
  const ports: PortRange[] = [];
  const maps: string[] = [];
  let unknown = false;
  for (const { rule } of entries) {
    const expressions = Array.isArray(rule?.["expr"]) ? rule["expr"] as unknown[] : [];
    const target = expressions.find(isDestinationNat);
    if (!rule || target === undefined) continue;
    const found = expressions.flatMap(portsOf);
    const map = mapOf(target);
    if (found.length > 0) ports.push(...found);
    else if (map !== undefined) maps.push(`${rule["family"]} ${rule["table"]} ${map}`);
    else unknown = true;
  }
  return { ports, maps, unknown };
}

/** The keys of a map that `nft --json list map` shows, as ports of either protocol; `undefined` for other keys. */
export function parseMapPorts(json: string): PortRange[] | undefined {
  const ports: PortRange[] = [];
  for (const element of elementsIn(json)) {
    const [first, last] = boundsOf(Array.isArray(element) ? element[0] : undefined);
    if (!Number.isInteger(first) || !Number.isInteger(last)) return undefined;
    ports.push({ protocol: "tcp", first, last }, { protocol: "udp", first, last });
  }
  return ports;
}

function isDestinationNat(expression: unknown): boolean {
  const word = verdictOf(expression);
  const xt = (expression as { xt?: { name?: string } | null }).xt;
  return word === "dnat" || word === "redirect" ||
    (word === "xt" && /^(DNAT|REDIRECT|NETMAP)$/.test(xt?.name ?? ""));
}

function mapOf(expression: unknown): string | undefined {
  return /"data":"@([A-Za-z_][\w./-]*)"/.exec(JSON.stringify(expression))?.[1];
}

function portsOf(expression: unknown): PortRange[] {
  if (verdictOf(expression) !== "match") return [];
  const { left, right, op } =
    (expression as { match: { left: unknown; right: unknown; op: string } }).match;
  const payload = (left as { payload?: { protocol?: string; field?: string } }).payload;
  if (op !== "==" || payload?.field !== "dport") return [];
  const protocols = (["tcp", "udp"] as const).filter((each) =>
    payload.protocol === each || payload.protocol === "th"
  );
  return ((right as { set?: unknown[] }).set ?? [right]).flatMap((value) => {
    const [first, last] = boundsOf(value);
    return Number.isInteger(first) && Number.isInteger(last)
      ? protocols.map((protocol) => ({ protocol, first, last }))
      : [];
  });
}

function boundsOf(value: unknown): [number, number] {
  const range = (value as { range?: [number, number] } | undefined)?.range ?? [value, value];
  return [Number(range[0]), Number(range[1])];
}
