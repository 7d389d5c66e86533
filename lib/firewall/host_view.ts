/**
 * What this host's own firewall does to strangers, whichever program loaded it: for people, before openme changes
 * anything.
 */

import type { PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import { type HostChain, portsOpenToEveryone } from "./host_chains.ts";
import { parseFilterChains } from "./iptables_host.ts";
import { NftHoles } from "./nft_holes.ts";

/** Gives, of any ports, those that a stranger can reach as far as the host's input chains show. */
export async function hostFirewall(
  run: RunProgram,
): Promise<(ports: readonly PortRange[]) => readonly PortRange[]> {
  const view = await new NftHoles(run, { besideIptables: false }).look().catch(() => undefined);
  const chains = [...view?.chains ?? [], ...await legacyChains(run)].filter(({ hook }) =>
    hook === "input"
  );
  // A chain for IPv6 alone says nothing of what IPv4 can reach.
  const forIpv4 = chains.filter(({ family }) => family !== "ip6");
  return (ports) =>
    ports.flatMap((range) => portsOpenToEveryone([range], forIpv4, ["ip"])?.ports ?? []);
}

/**
 * INPUT and FORWARD of iptables-legacy, for IPv4. Only a table that is there is listed: to list one is to make it.
 */
export async function legacyChains(run: RunProgram): Promise<HostChain[]> {
  const read = (program: string, ...args: string[]) =>
    run({ program, args, timeoutMs: 5000 }).catch(() => "");
  const names = (await read("cat", "/proc/net/ip_tables_names")).split("\n");
  if (!names.includes("filter")) return [];
  const listing = await read("iptables-legacy", "-w", "4", "-t", "filter", "-S");
  return parseFilterChains("ip", listing).map((chain) => ({
    ...chain,
    program: "iptables-legacy",
  }));
}
