/** Which ports the host's own chains leave open to strangers, followed through the chains that they jump to. Pure. */

import type { Family } from "./families.ts";
import { type HostChain, verdictOf } from "./chain.ts";
import { findBlock } from "./trace.ts";
import {
  formatPortRange,
  mergePortRanges,
  type PortRange,
  subtractPortRanges,
} from "../../values/ports.ts";

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
