/**
 * What this host's own firewall does to strangers, whichever program loaded it: for people, before openme changes
 * anything.
 */

import type { PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import { hostFamilies } from "./families.ts";
import { type HostChain, portsOpenToEveryone } from "./host_chains.ts";
import { parseFilterChains } from "./iptables_host.ts";
import { NftHoles } from "./nft_holes.ts";

/** Gives, of any ports, those that a stranger can reach as far as the host's input chains show, over IPv4 or IPv6. */
export async function hostFirewall(
  run: RunProgram,
): Promise<(ports: readonly PortRange[]) => readonly PortRange[]> {
  const view = await new NftHoles(run, { besideIptables: false }).look().catch(() => undefined);
  const chains = [...view?.chains ?? [], ...await legacyChains(run)].filter(({ hook }) =>
    hook === "input"
  );
  const families = await hostFamilies(run);
  return (ports) =>
    ports.flatMap((range) => portsOpenToEveryone([range], chains, families)?.ports ?? []);
}

/** INPUT and FORWARD of iptables-legacy. Only a table that is there is listed: to list one is to make it. */
export async function legacyChains(run: RunProgram): Promise<HostChain[]> {
  const read = (program: string, ...args: string[]) =>
    run({ program, args, timeoutMs: 5000 }).catch(() => "");
  const chains = await Promise.all((["ip", "ip6"] as const).map(async (family) => {
    const names = (await read("cat", `/proc/net/${family}_tables_names`)).split("\n");
    if (!names.includes("filter")) return [];
    const program = family === "ip" ? "iptables-legacy" : "ip6tables-legacy";
    const listing = await read(program, "-w", "4", "-t", "filter", "-S");
    return parseFilterChains(family, listing);
  }));
  return chains.flat().map((chain) => ({ ...chain, program: "iptables-legacy" }));
}
