/**
 * What a firewall backend owes. A backend renders rules from parsed values and runs its program; it knows nothing of
 * knocks, clients or configuration files.
 *
 * Every call is idempotent, and all or nothing: where it throws, either nothing has changed or the next `install`
 * puts everything right. Time is the kernel's: once an opening stands, it ends by itself, whatever becomes of openme.
 */

import type { AddressOpenings } from "../grants.ts";
import type { PortRange } from "../ports.ts";

/** What to guard, and how. */
export interface GuardPlan {
  /** Where knocks arrive: never guarded. */
  readonly knockPort: number;
  readonly guardedPorts: readonly PortRange[];
  /** Whether openme closes the guarded ports itself; otherwise the host's own firewall does. */
  readonly dropPorts: boolean;
  /** Whether the host's own firewall has to be made to let knocks in. */
  readonly openKnockPort: boolean;
  /** The one interface to guard, or all. */
  readonly interface: string | undefined;
}

/** One firewall. */
export interface Backend {
  readonly name: string;
  /**
   * Puts the guard in place with exactly these openings, in one transaction, replacing whatever an earlier process or
   * a stranger's flush left. Connections that are established go on.
   */
  install(openings: readonly AddressOpenings[]): Promise<void>;
  /** From the next `install` on, guard this instead. */
  reconfigure(plan: GuardPlan): void;
  /** From now on each of these addresses may reach what is listed for it, and nothing else; others stay as they are. */
  apply(changes: readonly AddressOpenings[]): Promise<void>;
  /** Whether everything that `install` put in place is still there. */
  isIntact(): Promise<boolean>;
  /** Takes out everything that is openme's, and nothing else. */
  remove(): Promise<void>;
  /** Guarded ports that everyone can reach in spite of the guard, with the reason, for a warning. */
  openToEveryone(): Promise<{ ports: readonly PortRange[]; why: string } | undefined>;
  /** How many datagrams for the knock port the kernel has dropped so far, by reason; where it counts them. */
  kernelDrops?(): Promise<Readonly<Record<string, number>>>;
}
