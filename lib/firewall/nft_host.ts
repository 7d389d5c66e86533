/**
 * The host's own nftables rules, as far as openme must know them: where its traffic would be dropped, where its holes
 * are, and whether a port is closed at all. Reads `nft --json --terse list ruleset`; pure.
 */

import { OpenmeError } from "../errors.ts";
import { formatPortRange, type PortRange } from "../ports.ts";
import { quote } from "../quote.ts";
import { HOLE_COMMENT, HOLE_RULE } from "./nft_rules.ts";

/** A base chain of somebody else's where packets for this host are filtered. */
export interface HostChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly dropsByPolicy: boolean;
  readonly rules: readonly HostRule[];
}

export interface HostRule {
  readonly handle: number;
  readonly isHole: boolean;
  readonly expressions: readonly unknown[];
}

/** Parses the listing. Chains of openme's own table are left out. Throws where the text is not such a listing. */
export function parseHostChains(json: string): HostChain[] {
  const chains = new Map<string, HostChain & { rules: HostRule[] }>();
  for (const { chain, rule } of entriesOf(json)) {
    if (
      chain && chain["type"] === "filter" && chain["hook"] === "input" &&
      chain["table"] !== "openme"
    ) {
      const { family, table, name, policy } = chain as Record<string, string>;
      if (!["inet", "ip", "ip6"].includes(family ?? "")) continue;
      chains.set(`${family} ${table} ${name}`, {
        family: family!,
        table: table!,
        name: name!,
        dropsByPolicy: policy === "drop",
        rules: [],
      });
    }
    if (rule) {
      chains.get(`${rule["family"]} ${rule["table"]} ${rule["chain"]}`)?.rules.push({
        handle: Number(rule["handle"]),
        isHole: rule["comment"] === HOLE_COMMENT,
        expressions: Array.isArray(rule["expr"]) ? rule["expr"] : [],
      });
    }
  }
  return [...chains.values()];
}

/** Whether a chain may drop anything: by its policy, or by a rule, its own or one that it jumps to. */
export function mayDrop({ dropsByPolicy, rules }: HostChain): boolean {
  const harmless = ["accept", "return", "counter", "match", "mangle", "log", "limit"];
  return dropsByPolicy ||
    rules.some(({ isHole, expressions }) =>
      !isHole && expressions.some((expression) => !harmless.includes(verdictOf(expression)))
    );
}

/** The lines that put a hole at the top of every chain that may drop and has none. */
export function renderHoles(chains: readonly HostChain[]): string {
  return chains.filter((chain) => mayDrop(chain) && !chain.rules.some(({ isHole }) => isHole))
    .map((chain) => `insert rule ${nameOf(chain)} ${HOLE_RULE} comment "${HOLE_COMMENT}"\n`).join(
      "",
    );
}

/** The lines that take every hole out again, also those that a crash left. */
export function renderHoleRemoval(chains: readonly HostChain[]): string {
  return chains.flatMap((chain) =>
    chain.rules.filter(({ isHole }) => isHole).map(({ handle }) =>
      `delete rule ${nameOf(chain)} handle ${handle}\n`
    )
  ).join("");
}

/**
 * Of the given ports those which, as far as the rules show, a stranger can reach over IPv4 or IPv6: where no chain of
 * that family drops by policy or by an unconditional last rule, all of them; else those that every such chain accepts
 * without asking who it is.
 */
export function portsOpenToEveryone(
  ports: readonly PortRange[],
  chains: readonly HostChain[],
): { ports: readonly PortRange[]; why: string } | undefined {
  let closedNowhere = false;
  const open = ports.filter((range) =>
    (["ip", "ip6"] as const).some((family) => {
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
function valuesOf(right: unknown): readonly unknown[] {
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

function verdictOf(expression: unknown): string {
  return expression && typeof expression === "object" ? Object.keys(expression)[0] ?? "" : "";
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

function entriesOf(
  json: string,
): { chain?: Record<string, unknown>; rule?: Record<string, unknown> }[] {
  try {
    const listing = JSON.parse(json) as { nftables?: unknown };
    if (Array.isArray(listing.nftables)) return listing.nftables;
  } catch {
    // Told below.
  }
  throw new OpenmeError("FIREWALL", "cannot read what nft lists of this host's rules", {
    hint: `see what "nft --json --terse list ruleset" prints; openme needs nftables 1.0 or newer`,
  });
}
