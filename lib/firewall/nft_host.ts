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
 * Of the given ports those which, as far as the rules show, a stranger can reach: where no chain drops by policy or by
 * an unconditional last rule, all of them; else those that a rule accepts by number without asking who it is.
 */
export function portsOpenToEveryone(
  ports: readonly PortRange[],
  chains: readonly HostChain[],
): { ports: readonly PortRange[]; why: string } | undefined {
  const closing = chains.filter((chain) => chain.dropsByPolicy || endsInDrop(chain));
  if (closing.length === 0) {
    return { ports, why: "no firewall chain of this host drops what it does not know" };
  }
  const open = ports.filter((range) =>
    closing.every((chain) => chain.rules.some((rule) => acceptsAnyone(rule, range)))
  );
  if (open.length === 0) return undefined;
  return {
    ports: open,
    why: `a rule of this host accepts ${open.map(formatPortRange).join(" ")} from everyone`,
  };
}

function endsInDrop({ rules }: HostChain): boolean {
  const verdicts = rules.at(-1)?.expressions.map(verdictOf) ?? [];
  return verdicts.some((verdict) => verdict === "drop" || verdict === "reject") &&
    !verdicts.includes("match");
}

/** Whether a rule accepts by destination port (or whatever comes) and nothing else. */
function acceptsAnyone({ isHole, expressions }: HostRule, range: PortRange): boolean {
  if (isHole || !expressions.some((expression) => verdictOf(expression) === "accept")) return false;
  const matches = expressions.filter((expression) => verdictOf(expression) === "match");
  return matches.every((expression) => matchesPort(expression, range)) &&
    expressions.every((expression) =>
      ["match", "accept", "counter"].includes(verdictOf(expression))
    );
}

function matchesPort(expression: unknown, { protocol, first, last }: PortRange): boolean {
  const { left, right, op } =
    (expression as { match: { left: unknown; right: unknown; op: string } }).match;
  const payload = (left as { payload?: { protocol?: string; field?: string } }).payload;
  const isDestinationPort = (payload?.protocol === protocol || payload?.protocol === "th") &&
    payload?.field === "dport";
  if (op !== "==" || !isDestinationPort) return false;
  const values = (right as { set?: unknown[] }).set ?? [right];
  return values.some((value) => {
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
