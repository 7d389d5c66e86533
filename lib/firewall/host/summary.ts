/** What this host's own firewall does to strangers, whichever program loaded it: for people. Changes nothing. */

import { intersectPortRanges, mergePortRanges, type PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { hostFamilies } from "./families.ts";
import type { HostChain } from "./chain.ts";
import { findBlock } from "./trace.ts";
import { IptablesProgram } from "./iptables.ts";
import { NftProgram } from "./nft.ts";
import { portsOpenToEveryone } from "./reachability.ts";

/** The host's own firewall as a stranger meets it, without openme's guard. */
export interface HostFirewall {
  /** Ports that the host sends elsewhere, as to containers, as far as its rules say which. */
  readonly published: readonly PortRange[];
  /** Those of these ports that a stranger can reach, as far as the host's chains show. */
  openOf(ports: readonly PortRange[]): readonly PortRange[];
  /** The chains that drop a stranger's packets to some of these ports: at most one a family. */
  dropping(ports: readonly PortRange[]): readonly HostChain[];
}

export async function hostFirewall(run: RunProgram): Promise<HostFirewall> {
  const views = await Promise.all([
    new NftProgram(run).look().catch(() => undefined),
    IptablesProgram.legacyBeside({ run }).look().catch(() => undefined),
  ]);
  const families = await hostFamilies(run);
  const chains = views.flatMap((view) => view?.chains ?? []);
  const at = (hook: string) => chains.filter((chain) => chain.hook === hook);
  const published = mergePortRanges(views.flatMap((view) => view?.published ?? []));
  const input = at("input");
  // Ports that are sent on within the host pass the input chains too.
  const isSentOn = (range: PortRange) => {
    const traffic = { ports: [range], state: "new", sentOn: true, inDoubtAccepted: true } as const;
    return !findBlock(traffic, at("forward"), [4]);
  };
  return {
    published,
    openOf: (ports) =>
      mergePortRanges([
        ...ports.flatMap((range) => portsOpenToEveryone([range], input, families)?.ports ?? []),
        ...intersectPortRanges(ports, published).filter(isSentOn),
      ]),
    dropping: (ports) =>
      families.flatMap((family) => {
        const traffic = { ports, state: "new", sentOn: false } as const;
        return findBlock(traffic, [...at("prerouting"), ...input], [family])?.chain ?? [];
      }),
  };
}
