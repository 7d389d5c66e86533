/**
 * The host's own iptables rules, read from `iptables -S` into the chains of `host_chains.ts`; and the text that puts a
 * hole at their top or takes it out. Pure.
 */

import type { PortRange } from "../../values/ports.ts";
import { type HostChain, type HostRule, mayDrop } from "./chain.ts";
import { iptablesHoleRule, isHoleFor } from "./hole.ts";
import { HOLE_COMMENT } from "../plan.ts";
import { readRule } from "./iptables_rule.ts";

const HOOKS: Readonly<Record<string, HostChain["hook"]>> = {
  PREROUTING: "prerouting",
  INPUT: "input",
  FORWARD: "forward",
};

/** The tables that may drop what comes in; nat cannot. */
export const HOST_TABLES = ["raw", "mangle", "filter", "security"] as const;
export type HostTable = typeof HOST_TABLES[number];
const PRIORITIES: Readonly<Record<HostTable, number>> = {
  raw: -300,
  mangle: -150,
  filter: 0,
  security: 50,
};

/**
 * The chains on the way in, of what `iptables -S` prints of a table. The handle of a rule is its number in its chain,
 * from 1.
 */
export function parseHostTable(
  family: "ip" | "ip6",
  table: HostTable,
  listing: string,
): HostChain[] {
  const lines = listing.split("\n").map((each) => each.trim());
  const subchains = new Map<string, HostRule[]>();
  for (const line of lines) {
    const name = /^-N (\S+)$/.exec(line)?.[1];
    if (name !== undefined) subchains.set(name, []);
  }
  const bases = new Map<string, HostRule[]>();
  const chains: HostChain[] = [];
  for (const line of lines) {
    const [, name, policy] = /^-P (PREROUTING|INPUT|FORWARD) (\w+)$/.exec(line) ?? [];
    if (name === undefined) continue;
    const rules: HostRule[] = [];
    bases.set(name, rules);
    chains.push({
      family,
      table,
      name,
      hook: HOOKS[name]!,
      priority: PRIORITIES[table],
      owned: false,
      dropsByPolicy: policy === "DROP",
      rules,
      subchains,
    });
  }
  for (const line of lines) {
    const [, name, rule] = /^-A (\S+) (.*)$/.exec(line) ?? [];
    const rules = name === undefined ? undefined : bases.get(name) ?? subchains.get(name);
    rules?.push({
      handle: rules.length + 1,
      isHole: line.includes(`--comment "${HOLE_COMMENT}"`),
      expressions: readRule(rule!, subchains),
      text: line,
    });
  }
  return chains;
}

/** INPUT and FORWARD in `iptables -t filter -S`. */
export function parseFilterChains(family: "ip" | "ip6", listing: string): HostChain[] {
  return parseHostTable(family, "filter", listing);
}

/** The ports that rules in `iptables -t nat -S` send elsewhere; `undefined` where one does not say which. */
export function parsePublished(listing: string): PortRange[] | undefined {
  const published: PortRange[] = [];
  for (const line of listing.split("\n")) {
    if (!/ -j (DNAT|REDIRECT|NETMAP)\b/.test(line) || line.startsWith("-A OUTPUT")) continue;
    const ports = / -p (tcp|udp) .*--dport (\d+)(?::(\d+))?/.exec(line);
    if (!ports) return undefined;
    published.push({
      protocol: ports[1] as PortRange["protocol"],
      first: Number(ports[2]),
      last: Number(ports[3] ?? ports[2]),
    });
  }
  return published;
}

/**
 * The lines of one `iptables-restore` that put the hole for the bit `mark` first in each of these chains that may drop.
 * Misplaced ones go, and those for another bit, wherever they are.
 */
export function renderHoleLines(chains: readonly HostChain[], mark: number): string[] {
  return chains.flatMap((chain) => {
    const isLeft = chain.rules.some((rule) => rule.isHole && !isHoleFor(mark, rule));
    const wanted = mayDrop(chain) && (isLeft || !chain.rules[0]?.isHole);
    if (!wanted && !isLeft) return [];
    const hole = wanted ? [`-I ${chain.name} 1 ${iptablesHoleRule(mark)}`] : [];
    return [...renderHoleRemovalLines([chain]), ...hole];
  });
}

/** The lines that take every hole out of these chains. */
export function renderHoleRemovalLines(chains: readonly HostChain[]): string[] {
  return chains.flatMap(({ name, rules }) =>
    // As it stands there, whichever bit it is for.
    rules.filter(({ isHole }) => isHole).map(({ text }) => text!.replace(/^-A \S+/, `-D ${name}`))
  );
}

/** What `iptables-restore` reads for these chains, table by table; nothing where there is nothing to do. */
export function renderByTable(
  chains: readonly HostChain[],
  linesOf: (chains: readonly HostChain[]) => readonly string[],
): string {
  return HOST_TABLES.map((table) => {
    const lines = linesOf(chains.filter((chain) => chain.table === table));
    return lines.length === 0 ? "" : inTable(table, lines);
  }).join("");
}

/** What `iptables-restore` reads for one table. */
export function inTable(table: string, lines: readonly string[]): string {
  return `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
}
