/**
 * What the host's own chains surely do, as far as their rules show: whether a chain that takes no hole drops knocks or
 * granted traffic, and which ports are open to everyone.
 */

import { OpenmeError } from "../../values/errors.ts";
import {
  formatPortRange,
  intersectPortRanges,
  mergePortRanges,
  type PortRange,
  subtractPortRanges,
} from "../../values/ports.ts";
import { escapeUnprintable } from "../../values/text.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { GuardPlan } from "../plan.ts";
import { type HostChain, type HostRule, verdictOf } from "./chain.ts";
import type { Traffic } from "./conditions.ts";
import { type Family, familyName } from "./families.ts";
import { runNft } from "./nft_listing.ts";
import { type Block, findBlock } from "./trace.ts";

/** The chains that take no hole, and what is known of the traffic that comes to them. */
export interface ClosedChains {
  readonly chains: readonly HostChain[];
  /** Ports that the host sends elsewhere, as far as its rules say. */
  readonly published: readonly PortRange[];
  /** Whether openme keeps knocks out of connection tracking. */
  readonly untracksKnocks: boolean;
}

/** The chains that surely drop knocks or granted traffic. */
export function barringChains(plan: GuardPlan, closed: ClosedChains): HostChain[] {
  return closed.chains.filter((chain) => blockAt(chain, plan, closed) !== undefined);
}

/** Throws `FIREWALL` with the chain and the rule where one of the chains surely drops knocks or granted traffic. */
export async function requireWayIn(
  plan: GuardPlan,
  closed: ClosedChains,
  run: RunProgram,
): Promise<void> {
  for (const chain of closed.chains) {
    const block = blockAt(chain, plan, closed);
    if (block) throw await refusal(block, run);
  }
}

function blockAt(chain: HostChain, plan: GuardPlan, closed: ClosedChains): Block | undefined {
  for (const traffic of trafficAt(chain, plan, closed)) {
    const block = findBlock(traffic, [chain]);
    if (block) return block;
  }
  return undefined;
}

/** The traffic that comes to a chain. Behind destination NAT a port no longer has the number that openme guards. */
function trafficAt(
  { hook }: HostChain,
  plan: GuardPlan,
  { published, untracksKnocks }: ClosedChains,
): Traffic[] {
  const { guardedPorts, forwardedPorts } = plan;
  if (hook === "forward") {
    const sentOn = intersectPortRanges(guardedPorts, published);
    return [
      { ports: sentOn, state: "new", sentOn: true },
      { ports: subtractPortRanges(forwardedPorts, sentOn), state: "new", sentOn: false },
    ];
  }
  const here = hook === "input" ? subtractPortRanges(guardedPorts, published) : guardedPorts;
  const knock: PortRange = { protocol: "udp", first: plan.knockPort, last: plan.knockPort };
  return [
    { ports: here, state: "new", sentOn: false },
    {
      ports: plan.openKnockPort ? [knock] : [],
      state: untracksKnocks ? "untracked" : "new",
      sentOn: false,
    },
  ];
}

async function refusal(block: Block, run: RunProgram): Promise<OpenmeError> {
  const { chain, rule, place, family, ports } = block;
  const where = escapeUnprintable(`chain ${chain.family} ${chain.table} ${chain.name}`);
  const inside = place === chain.name ? "" : escapeUnprintable(` in its chain ${place}`);
  const what = rule
    ? `rule "${await textOf(chain, { rule, place }, run)}"${inside}`
    : "policy drop";
  const over = chain.family === "inet" && family === "ip6" ? " over IPv6" : "";
  const list = ports.map(formatPortRange).join(" ");
  return new OpenmeError(
    "FIREWALL",
    `${where} drops what openme lets in to ${list}${over}: its ${what}`,
    { hint: hintFor(chain) },
  );
}

function hintFor({ owned, hook, program, name }: HostChain): string {
  if (owned) {
    return "its table belongs to a program (flags owner) and takes no rule from others: let knocks and clients in " +
      "with that program, by firewall: firewalld or firewall: command (docs/firewalls.md)";
  }
  if (hook !== "prerouting") {
    return `openme cannot put its rule there: set firewall: ${program}, or accept these ports there`;
  }
  return name === "PREROUTING"
    ? "no hole helps in PREROUTING: move that rule to INPUT, or except these ports"
    : "it comes before openme's guard, so that no hole helps: move that rule to input, or except these ports";
}

async function textOf(
  { family, table }: HostChain,
  { rule: { handle, text }, place }: { rule: HostRule; place: string },
  run: RunProgram,
): Promise<string> {
  if (text !== undefined) return escapeUnprintable(text);
  const listing = await runNft(run, ["--handle", "list", "chain", family, table, place]);
  const line = listing.split("\n").find((each) => each.endsWith(`# handle ${handle}`));
  return escapeUnprintable(line?.replace(/ # handle \d+$/, "").trim() ?? `handle ${handle}`);
}

/**
 * Which of these ports a stranger can reach over one of the families, as far as the rules show, and why. Closed is a port
 * where a chain of that family drops by its policy, or by a rule that every such packet meets, before a rule accepts
 * without asking who it is.
 */
export function portsOpenToEveryone(
  ports: readonly PortRange[],
  chains: readonly HostChain[],
  families: readonly Family[] = [4, 6],
): { ports: readonly PortRange[]; why: string } | undefined {
  const open = mergePortRanges(families.flatMap((family) => openOver(family, ports, chains)));
  if (open.length === 0) return undefined;
  const closes = (family: Family) =>
    chains.some((chain) =>
      ["inet", familyName(family)].includes(chain.family) &&
      (chain.dropsByPolicy || endsInDrop(chain))
    );
  const why = families.every(closes)
    ? `a rule of this host accepts ${open.map(formatPortRange).join(" ")} from everyone`
    : "no firewall chain of this host drops what it does not know";
  return { ports: open, why };
}

function openOver(
  family: Family,
  ports: readonly PortRange[],
  chains: readonly HostChain[],
): readonly PortRange[] {
  const block = findBlock({ ports, state: "new", sentOn: false }, chains, [family]);
  return block ? openOver(family, subtractPortRanges(ports, block.ports), chains) : ports;
}

function endsInDrop({ rules }: HostChain): boolean {
  const verdicts = rules.at(-1)?.expressions.map(verdictOf) ?? [];
  return verdicts.some((verdict) => verdict === "drop" || verdict === "reject") &&
    !verdicts.includes("match");
}
