/**
 * The host's own iptables rules, read from `iptables -S` into the same chains that `nft_host.ts` reasons about; and the
 * text that puts a hole at their top or takes it out. Pure.
 */

import type { PortRange } from "../ports.ts";
import { type HostChain, type HostRule, mayDrop } from "./host_chains.ts";
import { HOLE_RULE, inTable } from "./iptables_rules.ts";
import { HOLE_COMMENT } from "./nft_rules.ts";

const HOOKS: Readonly<Record<string, HostChain["hook"]>> = { INPUT: "input", FORWARD: "forward" };

/** INPUT and FORWARD in `iptables -t filter -S`. The handle of a rule is its number in its chain, from 1. */
export function parseFilterChains(family: "ip" | "ip6", listing: string): HostChain[] {
  const subchains = new Map<string, HostRule[]>();
  const rulesOf = (name: string) => {
    if (!subchains.has(name)) subchains.set(name, []);
    return subchains.get(name)!;
  };
  const chains: HostChain[] = [];
  for (const line of listing.split("\n").map((each) => each.trim())) {
    const policy = /^-P (INPUT|FORWARD) (\w+)$/.exec(line);
    if (policy) {
      chains.push({
        family,
        table: "filter",
        name: policy[1]!,
        hook: HOOKS[policy[1]!]!,
        priority: 0,
        owned: false,
        dropsByPolicy: policy[2] === "DROP",
        rules: rulesOf(policy[1]!),
        subchains,
      });
    }
    const made = /^-N (\S+)$/.exec(line);
    if (made) rulesOf(made[1]!);
    const rule = /^-A (\S+) (.*)$/.exec(line);
    if (!rule) continue;
    const rules = rulesOf(rule[1]!);
    rules.push({
      handle: rules.length + 1,
      isHole: line.includes(`--comment "${HOLE_COMMENT}"`),
      expressions: expressionsOf(rule[2]!),
      text: line,
    });
  }
  return chains;
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
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    const match = pattern.exec(rest) ?? undefined;
    if (match) rest = rest.replace(match[0], " ");
    return match;
  };
  const match = (left: unknown, right: unknown, not: string | undefined = undefined) =>
    expressions.push({ match: { op: not ? "!=" : "==", left, right } });
  take(/ -m comment --comment ("[^"]*"|\S+) /);
  const target = take(/ -([jg]) (\S+)( .*)?$/);
  const protocol = take(/ (! )?-p (\S+) /);
  const isProtocol = protocol?.[2];
  if (protocol) match({ meta: { key: "l4proto" } }, isProtocol, protocol[1]);
  take(/ -m (tcp|udp) /);
  const port = take(/ (! )?--dport (\S+) /) ?? take(/ -m multiport (! )?--dports (\S+) /);
  if (port && isProtocol) {
    const values = port[2]!.split(",").map((each) => {
      const [first, last] = each.split(":").map(Number);
      return last === undefined ? first : { range: [first, last] };
    });
    const right = values.length === 1 ? values[0] : { set: values };
    match({ payload: { protocol: isProtocol, field: "dport" } }, right, port[1]);
  }
  const first = take(/ (! )?--tcp-flags FIN,SYN,RST,ACK SYN /);
  if (first) {
    const flags = { payload: { protocol: "tcp", field: "flags" } };
    match({ "&": [flags, ["fin", "syn", "rst", "ack"]] }, "syn", first[1]);
  }
  const inward = take(/ (! )?-i (\S+) /);
  if (inward) match({ meta: { key: "iifname" } }, inward[2], inward[1]);
  const state = take(/ -m (?:conntrack|state) (! )?--(?:ctstate|state) (\S+) /);
  if (state) {
    const words = state[2]!.toLowerCase().split(",");
    const isDnat = words.length === 1 && words[0] === "dnat";
    const key = isDnat ? "status" : "state";
    // An iptables state may also be one of NAT's, of which nft makes a key of its own.
    if (isDnat || !words.some((word) => ["dnat", "snat"].includes(word))) {
      match({ ct: { key } }, { set: words }, state[1]);
    } else match({}, state[0]);
  }
  const type = take(/ -m addrtype (! )?--dst-type (\S+) /);
  if (type) {
    const right = { set: type[2]!.toLowerCase().split(",") };
    match({ fib: { result: "type", flags: ["daddr"] } }, right, type[1]);
  }
  if (take(/ -m limit --limit \S+ (--limit-burst \d+ )?/)) expressions.push({ limit: {} });
  if (rest.trim() !== "") match({}, rest.trim());
  expressions.push(fateOf(target?.[1], target?.[2]));
  return expressions;
}

function fateOf(letter: string | undefined, target: string | undefined): unknown {
  if (target === undefined) return { counter: null };
  const known: Record<string, string> = {
    ACCEPT: "accept",
    DROP: "drop",
    REJECT: "reject",
    RETURN: "return",
    LOG: "log",
    NFLOG: "log",
    NFQUEUE: "queue",
  };
  if (Object.hasOwn(known, target)) return { [known[target]!]: null };
  return { [letter === "g" ? "goto" : "jump"]: { target } };
}
