/**
 * A chain of the host's own, and whether it may drop anything. Pure; `read_nft.ts` and `read_iptables.ts` read the chains,
 * `trace.ts` follows a packet through them.
 */

/** A base chain of the host's own, in which packets are filtered. */
export interface HostChain {
  /** The program that lists it and takes rules for it: `nft`, or one of iptables. */
  readonly program: string;
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook: "input" | "forward" | "prerouting";
  readonly priority: number;
  /** Whether the table belongs to a program (`flags owner`) and takes no rule from others. */
  readonly owned: boolean;
  readonly dropsByPolicy: boolean;
  readonly rules: readonly HostRule[];
  /** The chains of its table by name, to follow jumps. */
  readonly subchains?: ReadonlyMap<string, readonly HostRule[]>;
}

export interface HostRule {
  readonly handle: number;
  readonly isHole: boolean;
  /** As `nft --json` prints them. */
  readonly expressions: readonly unknown[];
  /** The rule as iptables prints it. */
  readonly text?: string;
}

/** Whether a chain may drop anything: by its policy, or by a rule, its own or one that it jumps to. */
export function mayDrop({ dropsByPolicy, rules, subchains }: HostChain): boolean {
  return dropsByPolicy || mayDropByRule(rules, subchains ?? new Map(), new Set());
}

/** Expressions that drop nothing. */
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

/** The chain that a jump or goto leads to; `undefined` where it is not known. */
export function targetOf(expression: unknown): string | undefined {
  const { jump, goto } = expression as Record<string, { target?: string } | null | undefined>;
  return (jump ?? goto)?.target;
}

/** One value, a list or a set of them. */
export function valuesOf(right: unknown): readonly unknown[] {
  if (Array.isArray(right)) return right;
  const set = right && typeof right === "object" ? (right as { set?: unknown }).set : undefined;
  return Array.isArray(set) ? set : [right];
}

/** The word of an expression: a verdict, or what kind of condition it is. */
export function verdictOf(expression: unknown): string {
  return expression && typeof expression === "object" ? Object.keys(expression)[0] ?? "" : "";
}
