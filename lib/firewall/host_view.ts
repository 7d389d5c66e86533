/**
 * What this host's own firewall does to strangers, whichever program loaded it: for people, before openme changes
 * anything.
 */

import type { PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import { portsOpenToEveryone } from "./host_chains.ts";
import { LegacyHoles } from "./legacy_holes.ts";
import { NftHoles } from "./nft_holes.ts";

/** Gives, of any ports, those that a stranger can reach as far as the host's input chains show. */
export async function hostFirewall(
  run: RunProgram,
): Promise<(ports: readonly PortRange[]) => readonly PortRange[]> {
  const view = await new NftHoles(run, { besideIptables: false }).look().catch(() => undefined);
  const legacy = await new LegacyHoles(run).look().catch(() => undefined);
  const chains = [...view?.chains ?? [], ...legacy?.chains ?? []].filter(({ hook }) =>
    hook === "input"
  );
  // A chain for IPv6 alone says nothing of what IPv4 can reach.
  const forIpv4 = chains.filter(({ family }) => family !== "ip6");
  return (ports) => ports.flatMap((range) => portsOpenToEveryone([range], forIpv4)?.ports ?? []);
}
