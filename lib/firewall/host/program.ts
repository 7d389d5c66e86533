/** What a firewall program of the host is to the rest: it shows its chains, and takes holes. */

import type { PortRange } from "../../values/ports.ts";
import type { FirewallRun } from "../run.ts";
import type { HostChain } from "./chain.ts";
import type { HoleChange } from "./hole.ts";

/** What one firewall program shows of the host's own rules. */
export interface ProgramView {
  /** Those that a packet on its way in may pass. */
  readonly chains: readonly HostChain[];
  /** Ports that its rules send elsewhere, as for containers; `undefined` where they do not say which. */
  readonly published: readonly PortRange[] | undefined;
}

/** A firewall program in whose chains the host may filter. */
export interface HostProgram<View extends ProgramView = ProgramView> {
  /** The `program` of its chains. */
  readonly name: string;
  look(): Promise<View>;
  /** The runs that make these changes, all to its own chains. */
  render(changes: readonly HoleChange[]): readonly FirewallRun[];
}
