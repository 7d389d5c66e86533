/**
 * What the host's own chains surely do, as far as their rules show: whether one that takes no hole drops what openme lets
 * in, so that a grant would let nobody in, and which ports are open to everyone.
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
import type { Family } from "./families.ts";
import { runNft } from "./nft_listing.ts";
import type { Traffic } from "./conditions.ts";
import { type Block, findBlock } from "./trace.ts";

/** The chains that take no hole, and what is known of the traffic that comes to them. */
export interface ClosedChains {
  readonly chains: readonly HostChain[];
  /** Ports that the host sends elsewhere, as far as its rules say. */
  readonly published: readonly PortRange[];
  /** Whether openme keeps knocks out of connection tracking. */
  readonly untracksKnocks: boolean;
}

/** Which of the chains surely drop knocks or granted traffic. */
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

/** Behind destination NAT nobody knows a port by the number that openme guards. */
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

async function refusal(
  { chain, rule, place, family, ports }: Block,
  run: RunProgram,
): Promise<OpenmeError> {
  const where = escapeUnprintable(`chain ${chain.family} ${chain.table} ${chain.name}`);
  const inside = place === chain.name ? "" : escapeUnprintable(` in its chain ${place}`);
  const what = rule
    ? `rule "${await textOf(chain, { rule, place }, run)}"${inside}`
    : "policy drop";
  const over = chain.family === "inet" && family === "ip6" ? " over IPv6" : "";
  return new OpenmeError(
    "FIREWALL",
    `${where} drops what openme lets in to ${
      ports.map(formatPortRange).join(" ")
    }${over}: its ${what}`,
    {
      hint: !chain.owned && chain.hook !== "prerouting"
        ? `openme cannot put its rule there: set firewall: ${chain.program}, or accept these ports there`
        : chain.owned
        ? "its table belongs to a program (flags owner) and takes no rule from others: let knocks and clients in " +
          "with that program, by firewall: firewalld or firewall: command (docs/firewalls.md)"
        : chain.name === "PREROUTING"
        ? "no hole helps in PREROUTING: move that rule to INPUT, or except these ports"
        : "it comes before openme's guard, so that no hole helps: move that rule to input, or except these ports",
    },
  );
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
 * What of the given ports, as far as the rules show, a stranger can reach over one of `families`: where no chain of that
 * family drops by policy or by a rule that every such packet meets, before a rule that accepts without asking who it is.
 */
export function portsOpenToEveryone(
  ports: readonly PortRange[],
  chains: readonly HostChain[],
  families: readonly Family[] = [4, 6],
): { ports: readonly PortRange[]; why: string } | undefined {
  let closedNowhere = false;
  const open = mergePortRanges(families.flatMap((number) => {
    const family = number === 4 ? "ip" : "ip6";
    const met = chains.filter((chain) => chain.family === "inet" || chain.family === family);
    closedNowhere ||= !met.some((chain) => chain.dropsByPolicy || endsInDrop(chain));
    return openOver(family, ports, met);
  }));
  if (open.length === 0) return undefined;
  const why = closedNowhere
    ? "no firewall chain of this host drops what it does not know"
    : `a rule of this host accepts ${open.map(formatPortRange).join(" ")} from everyone`;
  return { ports: open, why };
}

function openOver(
  family: "ip" | "ip6",
  ports: readonly PortRange[],
  chains: readonly HostChain[],
): readonly PortRange[] {
  const own = chains.map((chain) => ({ ...chain, family }));
  let open = ports;
  while (open.length > 0) {
    const block = findBlock({ ports: open, state: "new", sentOn: false }, own);
    if (!block) break;
    open = subtractPortRanges(open, block.ports);
  }
  return open;
}

function endsInDrop({ rules }: HostChain): boolean {
  const verdicts = rules.at(-1)?.expressions.map(verdictOf) ?? [];
  return verdicts.some((verdict) => verdict === "drop" || verdict === "reject") &&
    !verdicts.includes("match");
}
