/**
 * What a firewall backend owes. A backend renders rules from parsed values and runs its program; it knows nothing of
 * knocks or configuration files. docs/firewalls.md says how to add one, and what each of them promises.
 *
 * - **Prepare and repair** are `install`: the guard, the holes in the host's own rules, and exactly these openings.
 * - **Grant, renew and withdraw** are `apply`: what an address may reach from now on, in place of what it had.
 * - **Remove** takes out everything that is openme's, also what a dead process left.
 *
 * Every call may be repeated. Calls for different addresses, and `install`, may overlap: a program that hangs delays no
 * other address, or by its deadline at most where programs must run one at a time. Where the program is missing, fails,
 * or is killed at its deadline, the call throws an `OpenmeError` with code `FIREWALL`. Then either nothing has changed,
 * or the next `install` puts everything right, or `remove` does after a first `install`. A backend that works address by
 * address names those that failed with `PartlyFailed`.
 *
 * The kernel ends an opening wherever the firewall can count time, so that it ends also where openme is dead. Other
 * backends (`endsByKernel`) close by timers of their own, and the next `install` closes what a dead process left open.
 */

import { OpenmeError } from "../values/errors.ts";
import type { AddressOpenings } from "../grants.ts";
import type { Log } from "../system/log.ts";
import type { Network } from "../values/network.ts";
import type { PortRange } from "../values/ports.ts";
import type { RunProgram } from "../system/run_program.ts";
import type { CommandLines, GuardPlan } from "./plan.ts";

/**
 * Gives sets of openme's table in nftables their elements without a program, each call in one transaction. Resolves to
 * false, and has done nothing, where that is for `nft`; rejects where the kernel refuses.
 */
export interface QuickSets {
  /** Of these openings each of the sets gets those that belong there, and nothing else stays in it. */
  replaceOpenings(sets: Iterable<string>, openings: readonly AddressOpenings[]): Promise<boolean>;
  /** Changes what these addresses have, however many others there are. Not for ranges of ports. */
  changeOpenings(change: OpeningsChange): Promise<boolean>;
  replaceStamps(stamps: readonly KnockStamp[]): Promise<boolean>;
}

/** What some addresses had, and what they get. */
export type OpeningsChange = Readonly<Record<"before" | "after", readonly AddressOpenings[]>>;

/** Gives the generation of nf_tables' rules, which grows with every change; `undefined` where it cannot be had. */
export type ReadGeneration = () => number | undefined;

/** By what the firewall knows a knock of openme's own client. */
export interface KnockStamp {
  /** The four bytes of the stamp as one number, big-endian. */
  readonly word: number;
  /** For how long it is good. */
  readonly timeoutMs: number;
}

/** What backends are made of. */
export interface BackendParts {
  readonly plan: GuardPlan;
  readonly run: RunProgram;
  readonly log: Log;
  /** Where the backend keeps what must outlive the process; without it nothing is kept. */
  readonly stateDir: string | undefined;
  readonly command: CommandLines | undefined;
  /** Where `run` leads to this process's own namespace: what makes changes quicker there. */
  readonly quickSets?: QuickSets | undefined;
  /** The same: what says that no rule of nf_tables was changed. */
  readonly readGeneration?: ReadGeneration | undefined;
  /** The stamps of now. Without it no knock counts as stamped. */
  readonly stamps?: (() => readonly KnockStamp[]) | undefined;
  /** The same: a fingerprint of the rules in a table of iptables-legacy; `undefined` where it cannot be had. */
  readonly readLegacyTable?:
    | ((family: 4 | 6, table: string) => Promise<string | undefined>)
    | undefined;
}

/** What an address or network may reach, and the clients whose grants say so. */
export interface ClientOpenings extends AddressOpenings {
  readonly clients: readonly string[];
}

/** A call that failed for these addresses alone; for all others it succeeded. */
export class PartlyFailed extends OpenmeError {
  /** Canonical texts, of addresses and networks. */
  readonly addresses: ReadonlySet<string>;

  constructor(cause: OpenmeError, addresses: ReadonlySet<string>) {
    super(cause.code, cause.message, { cause, ...(cause.hint ? { hint: cause.hint } : {}) });
    this.addresses = addresses;
  }
}

/** The guard belongs to another process, which lives: it must not be touched. */
export class LivingOwnerError extends OpenmeError {}

/** What stands in the firewall for an address. */
export interface Standing {
  /** Canonical text, of an address or a network. */
  readonly address: string;
  readonly ports: readonly PortRange[];
}

/** The guard that stands, whichever process put it there, compared with the plan. */
export interface Examination {
  /** Each difference, in words; none where all of the guard stands. */
  readonly wrong: readonly string[];
  /** Ports of the plan that the guard does not cover. */
  readonly unguarded: readonly PortRange[];
  /** Chains of the host that may drop what openme lets in, and have no hole for it. */
  readonly barred: readonly string[];
  /** Whether any chain of the host may drop it. */
  readonly hostMayDrop: boolean;
  /** openme's rules that let an address in and that no grant covers, where the firewall does not end them by itself. */
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
   * Puts the guard in place with exactly these openings, in place of what stands, with no moment in between in which a
   * guarded port is open. Established connections go on.
   */
  install(openings: readonly ClientOpenings[]): Promise<void>;
  /** From the next `install` on, guard this instead. */
  reconfigure(plan: GuardPlan): void;
  /** From now on each of these addresses may reach what is listed for it, and nothing else; others stay as they are. */
  apply(changes: readonly ClientOpenings[]): Promise<void>;
  /**
   * Puts the stamps of now in place of those that stand, as `install` does too; not there where the firewall cannot tell
   * stamped knocks from others.
   */
  restamp?(): Promise<void>;
  /** Why the firewall of this host cannot tell stamped knocks from others; `undefined` where it can. */
  stampFlaw?(): Promise<string | undefined>;
  /** Whether everything that `install` put in place is still there; always, where the backend cannot tell. */
  isIntact(): Promise<boolean>;
  /** What stands of the guard; `undefined` where the backend cannot tell. Changes nothing. */
  examine(): Promise<Examination | undefined>;
  /** Which openings stand in the firewall now; `undefined` without a guard, and where the backend cannot tell. */
  list(): Promise<readonly Standing[] | undefined>;
  /** For how long traffic keeps open each of these, by canonical text, ms; not there where it keeps nothing open. */
  activity?(networks: readonly Network[]): Promise<ReadonlyMap<string, number>>;
  /** Takes out everything that is openme's, and nothing else. */
  remove(): Promise<void>;
  /** openme stops and the guard stays: closes the openings that the kernel does not end. */
  leave(): Promise<void>;
  /** Guarded ports that everyone can reach in spite of the guard, with the reason, for a warning. */
  openToEveryone(): Promise<OpenPorts | undefined>;
  /** How many datagrams for the knock port the kernel has dropped so far, by reason; where it counts them. */
  kernelDrops?(): Promise<Readonly<Record<string, number>>>;
}

/** Whether a guard stands on this host, of this process or another, as far as the backend can tell. */
export async function isGuarding(backend: Backend): Promise<boolean> {
  return await backend.list().then((standing) => standing !== undefined, () => false);
}
