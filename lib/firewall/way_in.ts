/**
 * Refuses to start where a grant would let nobody in: where a chain of the host's surely drops what openme lets in, and
 * no hole can be put there.
 */

import { OpenmeError } from "../errors.ts";
import { formatPortRange, type PortRange } from "../ports.ts";
import { escapeUnprintable } from "../quote.ts";
import type { GuardPlan } from "./backend.ts";
import { findBlock, type HostChain } from "./host_chains.ts";

/** Throws `FIREWALL` with the chain and the rule where one of `chains` surely drops knocks or granted traffic. */
export async function requireWayIn(
  plan: GuardPlan,
  chains: readonly HostChain[],
  listChain: (chain: HostChain) => Promise<string>,
): Promise<void> {
  const knocks: PortRange[] = plan.openKnockPort
    ? [{ protocol: "udp", first: plan.knockPort, last: plan.knockPort }]
    : [];
  const block = findBlock([...plan.guardedPorts, ...knocks], chains);
  if (!block) return;
  const { chain, rule, ports } = block;
  const place = escapeUnprintable(`chain ${chain.family} ${chain.table} ${chain.name}`);
  const what = rule ? `rule "${await textOf(chain, rule, listChain)}"` : "policy drop";
  throw new OpenmeError(
    "FIREWALL",
    `${place} drops what openme lets in to ${ports.map(formatPortRange).join(" ")}: its ${what}`,
    {
      hint: chain.program !== undefined
        ? `nft does not reach the rules of ${chain.program}: set firewall: ${chain.program}`
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
  { handle, text }: { handle: number; text?: string },
  listChain: (chain: HostChain) => Promise<string>,
): Promise<string> {
  if (text !== undefined) return escapeUnprintable(text);
  const listing = await listChain(chain);
  const line = listing.split("\n").find((each) => each.endsWith(`# handle ${handle}`));
  return escapeUnprintable(line?.replace(/ # handle \d+$/, "").trim() ?? `handle ${handle}`);
}
