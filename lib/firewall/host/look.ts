/**
 * The host around openme's guard: which chains of others granted traffic passes, whether it needs holes there, and what
 * to do where no hole can be put. The same for every backend; `nft.ts` and `iptables.ts` list the chains.
 */

import { intersectPortRanges, type PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { OpenPorts } from "../backend.ts";
import type { GuardPlan } from "../plan.ts";
import { allInTurn, type FirewallRun, runFirewall } from "../run.ts";
import { type HostChain, mayDrop } from "./chain.ts";
import { hostFamilies } from "./families.ts";
import { type HoleChange, holeChanges, NO_HOLES } from "./hole.ts";
import { requireFreeMark } from "./mark_users.ts";
import { barringChains, portsOpenToEveryone, requireWayIn } from "./reachability.ts";

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

/** The host as it is now. */
export interface Host<View extends ProgramView = ProgramView> extends ProgramView {
  /** What the backend's own program shows. */
  readonly own: View;
  /** The chains that granted traffic passes after it was marked. */
  readonly onTheWay: readonly HostChain[];
  /** Whether granted traffic is marked, so that it passes holes. */
  readonly hole: boolean;
}

/** What the backend's own guard does to packets. */
export interface GuardPlace {
  /** At which priority in prerouting it marks them. */
  readonly priority: number;
  /** Whether it keeps knocks out of connection tracking. */
  readonly untracksKnocks: boolean;
}

/** The host as one backend meets it. Looks anew each time; keeps nothing. */
export class HostRules<View extends ProgramView> {
  readonly #own: HostProgram<View>;
  readonly #others: readonly HostProgram[];
  readonly #place: GuardPlace;
  readonly #run: RunProgram;

  /** `others` are the programs whose chains `own` does not show. */
  constructor(
    own: HostProgram<View>,
    others: readonly HostProgram[],
    { place, run }: { place: GuardPlace; run: RunProgram },
  ) {
    this.#own = own;
    this.#others = others;
    this.#place = place;
    this.#run = run;
  }

  async look(plan: GuardPlan): Promise<Host<View>> {
    const own = await this.#own.look();
    const views: ProgramView[] = [own];
    for (const other of this.#others) views.push(await other.look());
    const published = views.every((view) => view.published !== undefined)
      ? views.flatMap((view) => view.published ?? [])
      : undefined;
    const forward = plan.forwardedPorts.length > 0 || published === undefined ||
      intersectPortRanges(plan.guardedPorts, published).length > 0;
    const chains = views.flatMap((view) => view.chains);
    const onTheWay = chains.filter(({ hook, priority }) =>
      hook === "input" || (hook === "forward" && forward) ||
      (hook === "prerouting" && priority > this.#place.priority)
    );
    return { own, chains, onTheWay, published, hole: !plan.dropPorts || onTheWay.some(mayDrop) };
  }

  /** Throws where a chain would drop what openme lets in and no hole can help, or where the mark is another's. */
  async requireWayIn(plan: GuardPlan, host: Host): Promise<void> {
    const closed = host.chains.filter((chain) =>
      host.onTheWay.includes(chain) ? chain.owned : chain.hook === "prerouting"
    );
    await this.#requireThrough(plan, host, closed);
    if (host.hole) await requireFreeMark(plan.mark, this.#run);
  }

  /** What is to be done about the holes in the chains of the backend's own program, for its next transaction. */
  ownChanges(plan: GuardPlan, host: Host): HoleChange[] {
    return changesFor(this.#own, changesOf(plan, host));
  }

  /** Puts the holes of the other programs. Where one of them does not take a hole, its chain may be the error. */
  async putOtherHoles(plan: GuardPlan, host: Host): Promise<void> {
    const changes = changesOf(plan, host);
    for (const other of this.#others) {
      try {
        await this.#put(other, changes);
      } catch (cause) {
        const chains = host.onTheWay.filter(({ program }) => program === other.name);
        await this.#requireThrough(plan, host, chains);
        throw cause;
      }
    }
  }

  /** Whether a hole is missing, or one is there that must not be. */
  lacksHoles(plan: GuardPlan, host: Host): boolean {
    return changesOf(plan, host).length > 0;
  }

  /** The chains that keep out what openme lets in. */
  barring(plan: GuardPlan, host: Host): HostChain[] {
    if (!host.hole) return [];
    const lacking = changesOf(plan, host).map(({ chain }) => chain)
      .filter((chain) => host.onTheWay.includes(chain));
    // No hole can be put into an owned chain: only what it surely drops counts.
    const chains = host.onTheWay.filter(({ owned }) => owned);
    return [...lacking, ...barringChains(plan, this.#closed(host, chains))];
  }

  /** Guarded ports that nothing closes, where the host is to close them. */
  async openToEveryone(plan: GuardPlan, { chains }: Host): Promise<OpenPorts | undefined> {
    const families = await hostFamilies(this.#run).catch(() => undefined);
    const met = chains.filter(({ hook }) => hook === "input");
    return portsOpenToEveryone(plan.guardedPorts, met, families);
  }

  /** Takes out every hole there is, of all programs. */
  async takeOutHoles(): Promise<void> {
    await allInTurn([this.#own, ...this.#others].map((program) => async () => {
      const { chains } = await program.look();
      await this.#put(program, holeChanges(chains, NO_HOLES));
    }));
  }

  async #put(program: HostProgram, changes: readonly HoleChange[]): Promise<void> {
    for (const each of program.render(changesFor(program, changes))) {
      await runFirewall(this.#run, each);
    }
  }

  async #requireThrough(plan: GuardPlan, host: Host, chains: readonly HostChain[]): Promise<void> {
    await requireWayIn(plan, this.#closed(host, chains), this.#run);
  }

  #closed({ published }: Host, chains: readonly HostChain[]) {
    const untracksKnocks = this.#place.untracksKnocks;
    return { chains, published: published ?? [], untracksKnocks };
  }
}

function changesOf({ mark }: GuardPlan, { chains, onTheWay, hole }: Host): HoleChange[] {
  return holeChanges(chains, { mark, isWanted: (chain) => hole && onTheWay.includes(chain) });
}

function changesFor({ name }: HostProgram, changes: readonly HoleChange[]): HoleChange[] {
  return changes.filter(({ chain }) => chain.program === name);
}
