/**
 * Refuses to start where a grant would let nobody in: where a chain of the host's surely drops what openme lets in, and
 * no hole can be put there.
 */

import { OpenmeError } from "../../values/errors.ts";
import {
  formatPortRange,
  intersectPortRanges,
  type PortRange,
  subtractPortRanges,
} from "../../values/ports.ts";
import { escapeUnprintable } from "../../values/text.ts";
import type { GuardPlan } from "../plan.ts";
import type { HostChain, HostRule } from "./chain.ts";
import { type Block, findBlock, type Traffic } from "./trace.ts";

/** The chains that take no hole, and what is known of the traffic that comes to them. */
export interface ClosedChains {
  readonly chains: readonly HostChain[];
  /** Ports that the host sends elsewhere; `undefined` where its rules do not say. */
  readonly published: readonly PortRange[] | undefined;
  /** Whether openme keeps knocks out of connection tracking. */
  readonly untracksKnocks: boolean;
}

/** Which of `chains` surely drop knocks or granted traffic. */
export function barringChains(
  plan: GuardPlan,
  { chains, published = [], untracksKnocks }: ClosedChains,
): HostChain[] {
  return chains.filter((chain) =>
    trafficAt(chain, plan, { published, untracksKnocks }).some((traffic) =>
      findBlock(traffic, [chain]) !== undefined
    )
  );
}

/** Throws `FIREWALL` with the chain and the rule where one of `chains` surely drops knocks or granted traffic. */
export async function requireWayIn(
  plan: GuardPlan,
  { chains, published, untracksKnocks }: ClosedChains,
  listChain: (chain: HostChain, place: string) => Promise<string>,
): Promise<void> {
  for (const chain of chains) {
    for (const traffic of trafficAt(chain, plan, { published: published ?? [], untracksKnocks })) {
      const block = findBlock(traffic, [chain]);
      if (block) throw await refusal(block, listChain);
    }
  }
}

/** Behind destination NAT nobody knows a port by the number that openme guards. */
function trafficAt(
  { hook }: HostChain,
  plan: GuardPlan,
  { published, untracksKnocks }: { published: readonly PortRange[]; untracksKnocks: boolean },
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
  listChain: (chain: HostChain, place: string) => Promise<string>,
): Promise<OpenmeError> {
  const where = escapeUnprintable(`chain ${chain.family} ${chain.table} ${chain.name}`);
  const inside = place === chain.name ? "" : escapeUnprintable(` in its chain ${place}`);
  const what = rule
    ? `rule "${await textOf(chain, { rule, place }, listChain)}"${inside}`
    : "policy drop";
  const over = chain.family === "inet" && family === "ip6" ? " over IPv6" : "";
  return new OpenmeError(
    "FIREWALL",
    `${where} drops what openme lets in to ${
      ports.map(formatPortRange).join(" ")
    }${over}: its ${what}`,
    {
      hint: chain.program !== undefined && chain.hook !== "prerouting"
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
  chain: HostChain,
  { rule: { handle, text }, place }: { rule: HostRule; place: string },
  listChain: (chain: HostChain, place: string) => Promise<string>,
): Promise<string> {
  if (text !== undefined) return escapeUnprintable(text);
  const listing = await listChain(chain, place);
  const line = listing.split("\n").find((each) => each.endsWith(`# handle ${handle}`));
  return escapeUnprintable(line?.replace(/ # handle \d+$/, "").trim() ?? `handle ${handle}`);
}
