/**
 * What a firewall backend owes. A backend renders rules from parsed values and runs its program; it knows nothing of
 * knocks or configuration files. docs/firewalls.md says how to add one, and what each of them promises.
 *
 * - **Prepare and repair** are `install`: the guard, the holes in the host's own rules, and exactly these openings.
 * - **Grant, renew and withdraw** are `apply`: what an address may reach from now on, in place of what it had.
 * - **Remove** takes out everything that is openme's, also what a dead process left.
 *
 * Every call may be repeated. Calls for different addresses, and `install`, may overlap in time: a program that hangs
 * must keep nobody else waiting (beyond its deadline, where programs must not run at the same time). Where the program is missing, fails, or is killed at its deadline, the call throws an
 * `OpenmeError` with code `FIREWALL`, and then either nothing has changed or the next `install` puts everything right;
 * after a first `install` that failed, `remove` does. A backend that works address by address says with `PartlyFailed`
 * which ones it was.
 *
 * Time is the kernel's wherever the firewall can count it: an opening ends by itself, whatever becomes of openme. A
 * backend that cannot promise that (`endsByKernel`) closes by timers of its own, and what a dead process left open is
 * closed by the next `install`.
 */

import { OpenmeError } from "../values/errors.ts";
import type { AddressOpenings } from "../grants.ts";
import type { Log } from "../system/log.ts";
import type { PortRange } from "../values/ports.ts";
import type { RunProgram } from "../system/run_program.ts";
import type { CommandLines, GuardPlan } from "./plan.ts";

/** A way to change nftables that costs less than a run of `nft`. */
export interface QuickTransactions {
  /** Gets ready, so that the next transaction does not wait for a start. */
  prepare(): void;
  /** Runs it; false where it cannot tell whether it was run, and `nft` itself must. */
  transact(text: string): Promise<boolean>;
  close(): void;
}

/** Gives the generation of nf_tables' rules, which grows with every change; `undefined` where it cannot be had. */
export type ReadGeneration = () => number | undefined;

/** What backends are made of. */
export interface BackendParts {
  readonly plan: GuardPlan;
  readonly run: RunProgram;
  readonly log: Log;
  /** Where the backend keeps what must outlive the process; without it nothing is kept. */
  readonly stateDir: string | undefined;
  readonly command: CommandLines | undefined;
  /** Where `run` leads to this process's own namespace: what makes changes quicker there. */
  readonly nftSession?: QuickTransactions | undefined;
  /** The same: what says that no rule of nf_tables was changed. */
  readonly readGeneration?: ReadGeneration | undefined;
}

/** What an address or network may reach, and the clients whose grants say so. */
export interface ClientOpenings extends AddressOpenings {
  readonly clients: readonly string[];
}

/** A call that failed for these addresses alone: of all others the firewall has what was asked. */
export class PartlyFailed extends OpenmeError {
  /** Canonical texts, of addresses and networks. */
  readonly addresses: ReadonlySet<string>;

  constructor(cause: OpenmeError, addresses: ReadonlySet<string>) {
    super(cause.code, cause.message, { cause, ...(cause.hint ? { hint: cause.hint } : {}) });
    this.addresses = addresses;
  }
}

/** Somebody lives who guards this host: nothing of his may be touched. */
export class LivingOwnerError extends OpenmeError {}

/** What stands in the firewall for an address. */
export interface Standing {
  /** Canonical text, of an address or a network. */
  readonly address: string;
  readonly ports: readonly PortRange[];
}

/** What stands of a guard, against the plan: whichever process put it there, and whether or not it still lives. */
export interface Examination {
  /** What is not as the plan wants it, in words; nothing where all of the guard stands. */
  readonly wrong: readonly string[];
  /** Ports of the plan that the guard does not cover. */
  readonly unguarded: readonly PortRange[];
  /** Chains of the host's that may drop what openme lets in, and have no hole for it. */
  readonly barred: readonly string[];
  /** Whether there are chains of the host's at all that may drop it. */
  readonly hostMayDrop: boolean;
  /** Rules of openme's that let somebody in and that no grant covers, where the firewall does not end them by itself. */
  readonly withoutGrant?: readonly Standing[];
}

/** Ports that everyone can reach. */
export interface OpenPorts {
  readonly ports: readonly PortRange[];
  readonly why: string;
  /** What to do about it, where that is not `drop_ports: true`. */
  readonly hint?: string;
}

/** One firewall. */
export interface Backend {
  readonly name: string;
  /** Whether the kernel ends every opening even when openme is dead. */
  readonly endsByKernel: boolean;
  /**
   * Puts the guard in place with exactly these openings, replacing whatever an earlier process or a stranger's flush
   * left, with no moment in between in which a guarded port is open. Connections that are established go on.
   */
  install(openings: readonly ClientOpenings[]): Promise<void>;
  /** From the next `install` on, guard this instead. */
  reconfigure(plan: GuardPlan): void;
  /** From now on each of these addresses may reach what is listed for it, and nothing else; others stay as they are. */
  apply(changes: readonly ClientOpenings[]): Promise<void>;
  /** Whether everything that `install` put in place is still there; always, where the backend cannot tell. */
  isIntact(): Promise<boolean>;
  /** What stands of the guard; `undefined` where the backend cannot tell. Changes nothing. */
  examine(): Promise<Examination | undefined>;
  /** Which openings stand in the firewall now; `undefined` without a guard, and where the backend cannot tell. */
  list(): Promise<readonly Standing[] | undefined>;
  /** Takes out everything that is openme's, and nothing else. */
  remove(): Promise<void>;
  /** openme stops and the guard stays: ends the openings that nobody else would end. */
  leave(): Promise<void>;
  /** Guarded ports that everyone can reach in spite of the guard, with the reason, for a warning. */
  openToEveryone(): Promise<OpenPorts | undefined>;
  /** How many datagrams for the knock port the kernel has dropped so far, by reason; where it counts them. */
  kernelDrops?(): Promise<Readonly<Record<string, number>>>;
}

/** Whether a guard of openme's stands on this host, whoever put it there, as far as the backend can tell. */
export async function isGuarding(backend: Backend): Promise<boolean> {
  return await backend.list().then((standing) => standing !== undefined, () => false);
}
