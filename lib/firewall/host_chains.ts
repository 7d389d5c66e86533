/**
 * What a host's own chains do to traffic, as far as it can be told from their rules: whether they may drop, surely drop,
 * or let everyone in. Pure; `nft_host.ts` and `iptables_host.ts` read the chains.
 */

import type { Family } from "./families.ts";
import { formatPortRange, type PortRange } from "../ports.ts";

/** A base chain of somebody else's where packets are filtered. */
export interface HostChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook: "input" | "forward" | "prerouting";
  readonly priority: number;
  /** The program that loaded it, where nft does not see it. */
  readonly program?: string;
  /** Whether a program keeps the table for itself (`flags owner`): it takes no rule from others. */
  readonly owned: boolean;
  readonly dropsByPolicy: boolean;
  readonly rules: readonly HostRule[];
  /** The chains of its table by their names, to follow jumps. */
  readonly subchains?: ReadonlyMap<string, readonly HostRule[]>;
}

export interface HostRule {
  readonly handle: number;
  readonly isHole: boolean;
  /** As `nft --json` prints them. */
  readonly expressions: readonly unknown[];
  /** As its own program prints the rule, where that is known. */
  readonly text?: string;
}

/** Whether traffic to guarded ports passes a chain of the filters: forwarded traffic where openme guards that as well. */
export function isOnTheWay({ hook }: HostChain, { forward }: { forward: boolean }): boolean {
  return hook === "input" || (hook === "forward" && forward);
}

/** Whether a chain may drop anything: by its policy, or by a rule, its own or one that it jumps to. */
export function mayDrop({ dropsByPolicy, rules, subchains }: HostChain): boolean {
  return dropsByPolicy || mayDropByRule(rules, subchains ?? new Map(), new Set());
}

/** What ends nothing, or lets somebody in. */
const HARMLESS = ["accept", "return", "counter", "match", "mangle", "log", "limit"];

function mayDropByRule(
  rules: readonly HostRule[],
  subchains: ReadonlyMap<string, readonly HostRule[]>,
  seen: Set<string>,
): boolean {
  const isHarmless = (expression: unknown) => {
    const word = verdictOf(expression);
    if (word !== "jump" && word !== "goto") return HARMLESS.includes(word);
    const target = targetOf(expression);
    const next = target === undefined ? undefined : subchains.get(target);
    if (target === undefined || !next) return false;
    if (seen.has(target)) return true; // looked at already
    seen.add(target);
    return !mayDropByRule(next, subchains, seen);
  };
  return rules.some(({ isHole, expressions }) => !isHole && !expressions.every(isHarmless));
}

/** The chain that a jump or goto leads to; `undefined` where nobody can tell. */
export function targetOf(expression: unknown): string | undefined {
  const { jump, goto } = expression as Record<string, { target?: string } | null | undefined>;
  return (jump ?? goto)?.target;
}

/**
 * Of the given ports those which, as far as the rules show, a stranger can reach over one of `families`: where no chain of
 * that family drops by policy or by an unconditional last rule, all of them; else those that every such chain accepts
 * without asking who it is.
 */
export function portsOpenToEveryone(
  ports: readonly PortRange[],
  chains: readonly HostChain[],
  families: readonly Family[] = [4, 6],
): { ports: readonly PortRange[]; why: string } | undefined {
  let closedNowhere = false;
  const open = ports.filter((range) =>
    families.map((family) => family === 4 ? "ip" : "ip6").some((family) => {
      const closing = chains.filter((chain) =>
        (chain.family === "inet" || chain.family === family) &&
        (chain.dropsByPolicy || endsInDrop(chain))
      );
      closedNowhere ||= closing.length === 0;
      return closing.every((chain) =>
        chain.rules.some((rule) => acceptsAnyone(rule, range, family))
      );
    })
  );
  if (open.length === 0) return undefined;
  const why = closedNowhere
    ? "no firewall chain of this host drops what it does not know"
    : `a rule of this host accepts ${open.map(formatPortRange).join(" ")} from everyone`;
  return { ports: open, why };
}

function endsInDrop({ rules }: HostChain): boolean {
  const verdicts = rules.at(-1)?.expressions.map(verdictOf) ?? [];
  return verdicts.some((verdict) => verdict === "drop" || verdict === "reject") &&
    !verdicts.includes("match");
}

/** Whether a rule accepts a stranger's first packet to these ports, as far as it is written in words known here. */
function acceptsAnyone(
  { isHole, expressions }: HostRule,
  range: PortRange,
  family: "ip" | "ip6",
): boolean {
  if (isHole || !expressions.some((expression) => verdictOf(expression) === "accept")) return false;
  return expressions.every((expression) =>
    verdictOf(expression) === "match"
      ? matchesPort(expression, range) || matchesStranger(expression, range, family)
      : ["accept", "counter", "log"].includes(verdictOf(expression))
  );
}

/** Matches that every new connection of the family and protocol meets. */
function matchesStranger(
  expression: unknown,
  { protocol }: PortRange,
  family: "ip" | "ip6",
): boolean {
  const { left, right, op } = (expression as { match: Match }).match;
  if (op !== "==" && op !== "in") return false;
  const values = valuesOf(right);
  if (left.ct?.key === "state") return values.includes("new");
  if (left.meta?.key === "l4proto") return values.includes(protocol);
  if (left.payload?.field === (family === "ip" ? "protocol" : "nexthdr")) {
    return values.includes(protocol);
  }
  if (left.meta?.key === "nfproto") return values.includes(family === "ip" ? "ipv4" : "ipv6");
  return false;
}

interface Match {
  readonly left: {
    readonly payload?: { readonly protocol?: string; readonly field?: string };
    readonly ct?: { readonly key?: string };
    readonly meta?: { readonly key?: string };
  };
  readonly right: unknown;
  readonly op: string;
}

/** One value, a list or a set of them. */
export function valuesOf(right: unknown): readonly unknown[] {
  if (Array.isArray(right)) return right;
  const set = right && typeof right === "object" ? (right as { set?: unknown }).set : undefined;
  return Array.isArray(set) ? set : [right];
}

function matchesPort(expression: unknown, { protocol, first, last }: PortRange): boolean {
  const { left: { payload }, right, op } = (expression as { match: Match }).match;
  const isDestinationPort = (payload?.protocol === protocol || payload?.protocol === "th") &&
    payload?.field === "dport";
  if (op !== "==" || !isDestinationPort) return false;
  return valuesOf(right).some((value) => {
    const range = (value as { range?: [number, number] }).range ?? [value, value];
    return Number(range[0]) <= last && first <= Number(range[1]);
  });
}

/** The word of an expression: a verdict, or what kind of condition it is. */
export function verdictOf(expression: unknown): string {
  return expression && typeof expression === "object" ? Object.keys(expression)[0] ?? "" : "";
}
