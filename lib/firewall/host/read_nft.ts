/**
 * The host's own nftables rules, as far as openme must know them: where its traffic would be dropped, where its holes
 * are, and which ports are sent elsewhere. Reads the entries of `nft --json --terse list ruleset`; pure.
 */

import { OpenmeError } from "../../values/errors.ts";
import { intersectPortRanges, type PortRange } from "../../values/ports.ts";
import { quote } from "../../values/text.ts";
import { type HostChain, type HostRule, mayDrop, verdictOf } from "./chain.ts";
import { type GuardPlan, HOLE_COMMENT } from "../plan.ts";
import { isHoleFor, nftHoleRule } from "./hole.ts";
import { type Entry, requireEntries } from "./nft_listing.ts";

const HOOKS = ["input", "forward", "prerouting"] as const;

/**
 * The base chains in a listing; `owned` are the tables that take no rule from others. Chains of openme's own table are
 * left out.
 */
export function parseHostChains(
  entries: readonly Entry[],
  owned: ReadonlySet<string> = new Set(),
): HostChain[] {
  const rules = new Map<string, HostRule[]>();
  const rulesOf = (table: string, chain: unknown) => {
    const key = `${table} ${chain}`;
    if (!rules.has(key)) rules.set(key, []);
    return rules.get(key)!;
  };
  const jumps = new Map<string, Map<string, readonly HostRule[]>>();
  const bases: HostChain[] = [];
  for (const { chain, rule } of entries) {
    const place = chain ?? rule;
    if (!place || !["inet", "ip", "ip6"].includes(String(place["family"]))) continue;
    const table = `${place["family"]} ${place["table"]}`;
    if (!jumps.has(table)) jumps.set(table, new Map());
    if (chain && place["table"] !== "openme") {
      const { family, table: tableName, name, policy } = chain as Record<string, string>;
      const hook = HOOKS.find((each) => each === chain["hook"]);
      jumps.get(table)!.set(name!, rulesOf(table, name));
      if (chain["type"] !== "filter" || !hook) continue;
      bases.push({
        family: family!,
        table: tableName!,
        name: name!,
        hook,
        priority: Number(chain["prio"]),
        owned: owned.has(table),
        dropsByPolicy: policy === "drop",
        rules: rulesOf(table, name),
        subchains: jumps.get(table)!,
      });
    }
    const expressions = Array.isArray(rule?.["expr"]) ? rule["expr"] : [];
    // What an iptables backend of openme's left is no rule of the host's.
    if (!rule || expressions.some(isJumpToOpenme)) continue;
    rulesOf(table, rule["chain"]).push({
      handle: Number(rule["handle"]),
      isHole: rule["comment"] === HOLE_COMMENT,
      expressions,
    });
  }
  return bases;
}

function isJumpToOpenme(expression: unknown): boolean {
  return (expression as { jump?: { target?: unknown } | null }).jump?.target === "OPENME";
}

/** What rules with destination NAT say of the ports that they send elsewhere. */
export interface Published {
  readonly ports: readonly PortRange[];
  /** Named maps whose keys are such ports, as `FAMILY TABLE NAME`. */
  readonly maps: readonly string[];
  /** Whether there are rules that do not say which ports. */
  readonly unknown: boolean;
}

/** Finds the published ports in the listing. */
export function parsePublished(entries: readonly Entry[]): Published {
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

/** Whether openme lets anything in that the host forwards. `published` is `undefined` where that is not known. */
export function needsForward(
  plan: GuardPlan,
  published: readonly PortRange[] | undefined,
): boolean {
  return plan.forwardedPorts.length > 0 || published === undefined ||
    intersectPortRanges(plan.guardedPorts, published).length > 0;
}

/** The keys of a map that `nft --json list map` shows, as ports of either protocol; `undefined` for other keys. */
export function parseMapPorts(json: string): PortRange[] | undefined {
  const elements = requireEntries(json).flatMap(({ map }) =>
    Array.isArray(map?.["elem"]) ? map["elem"] as unknown[] : []
  );
  const ports: PortRange[] = [];
  for (const element of elements) {
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
  const name = /"data":"@([A-Za-z_][\w./-]*)"/.exec(JSON.stringify(expression))?.[1];
  return name;
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

/**
 * The lines that put a hole for the bit `mark` at the top of every chain that may drop and has none. One for another bit
 * goes, wherever it is.
 */
export function renderHoles(chains: readonly HostChain[], mark: number): string {
  return chains.filter((chain) => !chain.owned).map((chain) => {
    const isLeft = chain.rules.some((rule) => rule.isHole && !isHoleFor(mark, rule));
    const wanted = mayDrop(chain) && (isLeft || lacksHole(chain));
    if (!wanted) return isLeft ? renderHoleRemoval([chain]) : "";
    const hole = `${nftHoleRule(mark)} comment "${HOLE_COMMENT}"`;
    return `${renderHoleRemoval([chain])}insert rule ${nameOf(chain)} ${hole}\n`;
  }).join("");
}

/** Whether a rule that may drop stands above the hole, or there is none. */
function lacksHole(chain: HostChain): boolean {
  const first = chain.rules.findIndex(({ isHole }) => isHole);
  return first < 0 ||
    mayDrop({ ...chain, dropsByPolicy: false, rules: chain.rules.slice(0, first) });
}

/** The lines that take every hole out again, also those that a crash left. */
export function renderHoleRemoval(chains: readonly HostChain[]): string {
  return chains.flatMap((chain) =>
    chain.rules.filter(({ isHole }) => isHole).map(({ handle }) =>
      `delete rule ${nameOf(chain)} handle ${handle}\n`
    )
  ).join("");
}

function nameOf({ family, table, name }: HostChain): string {
  for (const part of [table, name]) {
    if (!/^[A-Za-z_][\w./-]*$/.test(part)) {
      throw new OpenmeError(
        "FIREWALL",
        `cannot put a rule into the host's chain ${quote(name)} of table ${quote(table)}`,
        {
          hint: "its name has characters that openme does not write into a rule: rename it",
        },
      );
    }
  }
  return `${family} ${table} ${name}`;
}
