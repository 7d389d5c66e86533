/**
 * The host's own iptables rules, read from `iptables -S` into the same chains that `nft_host.ts` reasons about; and the
 * text that puts a hole at their top or takes it out. Pure.
 */

import type { PortRange } from "../ports.ts";
import { type HostChain, type HostRule, mayDrop } from "./host_chains.ts";
import { HOLE_RULE, inTable } from "./iptables_rules.ts";
import { HOLE_COMMENT } from "./nft_rules.ts";

const HOOKS: Readonly<Record<string, HostChain["hook"]>> = { INPUT: "input", FORWARD: "forward" };

/** INPUT and FORWARD in `iptables -t filter -S`. The handle of a rule is its number, from 1. */
export function parseFilterChains(family: "ip" | "ip6", listing: string): HostChain[] {
  const chains = new Map<string, HostChain & { rules: HostRule[] }>();
  for (const line of listing.split("\n").map((each) => each.trim())) {
    const policy = /^-P (INPUT|FORWARD) (\w+)$/.exec(line);
    if (policy) {
      chains.set(policy[1]!, {
        family,
        table: "filter",
        name: policy[1]!,
        hook: HOOKS[policy[1]!]!,
        priority: 0,
        owned: false,
        dropsByPolicy: policy[2] === "DROP",
        rules: [],
      });
      continue;
    }
    const rule = /^-A (INPUT|FORWARD) (.*)$/.exec(line);
    const chain = rule && chains.get(rule[1]!);
    if (!chain) continue;
    chain.rules.push({
      handle: chain.rules.length + 1,
      isHole: line.includes(`--comment "${HOLE_COMMENT}"`),
      expressions: expressionsOf(rule[2]!),
      text: line,
    });
  }
  return [...chains.values()];
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

/** The lines of one `iptables-restore` that put the hole first in each of these chains, and take misplaced ones out. */
export function renderHoleLines(chains: readonly HostChain[]): string[] {
  return chains.filter((chain) => mayDrop(chain) && !chain.rules[0]?.isHole).flatMap((chain) => [
    ...renderHoleRemovalLines([chain]),
    `-I ${chain.name} 1 ${HOLE_RULE}`,
  ]);
}

/** The lines that take every hole out of these chains. */
export function renderHoleRemovalLines(chains: readonly HostChain[]): string[] {
  return chains.flatMap(({ name, rules }) =>
    rules.filter(({ isHole }) => isHole).map(() => `-D ${name} ${HOLE_RULE}`)
  );
}

export function inFilterTable(lines: readonly string[]): string {
  return lines.length === 0 ? "" : inTable("filter", lines);
}

/** The rule in the words of `nft --json`; whatever has no such word here is an unknown condition. */
function expressionsOf(rule: string): unknown[] {
  const expressions: unknown[] = [];
  let rest = ` ${rule} `;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    const match = pattern.exec(rest);
    if (match) rest = rest.replace(match[0], " ");
    return match;
  };
  take(/ -m comment --comment ("[^"]*"|\S+) /);
  const target = take(/ -[jg] (\S+)( --reject-with \S+)? /)?.[1];
  const protocol = take(/ -p (tcp|udp) /)?.[1];
  take(/ -m (tcp|udp) /);
  const ports = take(/ --dport (\d+)(?::(\d+))? /);
  if (ports && protocol) {
    const right = ports[2] === undefined
      ? Number(ports[1])
      : { range: [Number(ports[1]), Number(ports[2])] };
    expressions.push({
      match: { op: "==", left: { payload: { protocol, field: "dport" } }, right },
    });
  } else if (protocol) expressions.push({ match: { op: "==", left: {}, right: protocol } });
  if (rest.trim() !== "") expressions.push({ match: { op: "==", left: {}, right: rest.trim() } });
  expressions.push({ [verdictOf(target)]: null });
  return expressions;
}

function verdictOf(target: string | undefined): string {
  if (target === undefined) return "counter";
  const known: Record<string, string> = {
    ACCEPT: "accept",
    DROP: "drop",
    REJECT: "reject",
    RETURN: "return",
    LOG: "log",
    NFLOG: "log",
  };
  return Object.hasOwn(known, target) ? known[target]! : "jump";
}
