/**
 * The nftables backend: runs what `rules.ts` and `host/hole.ts` render, one `nft` a transaction.
 */

import { allInTurn } from "../run.ts";
import { isSingle, type Network } from "../../values/network.ts";
import { type PortRange, subtractPortRanges } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { Backend, BackendParts, ClientOpenings, Examination, Standing } from "../backend.ts";
import type { GuardPlan } from "../plan.ts";
import { SeenConnections } from "../host/sockets.ts";
import { mayDrop } from "../host/chain.ts";
import { CheckedRules } from "../host/generation.ts";
import { renderNftHoles } from "../host/hole.ts";
import { IptablesProgram } from "../host/iptables.ts";
import { HostRules } from "../host/look.ts";
import { NftProgram, type NftView } from "../host/nft.ts";
import type { Narrowing } from "./narrowing.ts";
import { HeldOpenings, type SetsChange } from "./openings.ts";
import { GUARD_PRIORITY, renderRemoval, renderTable } from "./rules.ts";
import { OwnTable } from "./table.ts";
import { nameProcess, requireNoLivingOwner } from "../owner.ts";

/** Beside more chains, rules and sets than this, which nft lists in 0.1 s, */
const LARGE_RULESET = 2000;
/** looks at them are so far apart, for each of them: a 50th of a core. */
const LOOK_APART_MS = 2;

/** What makes runs of programs unnecessary, and what the knock chain tells knocks by. */
export type NftParts = Pick<
  BackendParts,
  "quickSets" | "readGeneration" | "readLegacyTable" | "stamps"
>;

/**
 * A backend that drives nftables through `run`, and more quickly where it can: all must lead to the same network
 * namespace.
 */
export function createNftBackend(plan: GuardPlan, run: RunProgram, parts: NftParts = {}): Backend {
  return new NftBackend(plan, run, parts);
}

/** What stands since the last install. */
interface Installed {
  readonly table: string;
  readonly holes: boolean;
}

class NftBackend implements Backend {
  readonly name = "nft";
  readonly endsByKernel = true;
  #plan: GuardPlan;
  readonly #run: RunProgram;
  readonly #table: OwnTable;
  readonly #host: HostRules<NftView>;
  /** Its changes do not show in the generation of nf_tables. */
  readonly #legacyProgram: IptablesProgram;
  readonly #checked: CheckedRules;
  /** The rules of iptables-legacy at the last check, to compare. */
  #legacy: string | undefined;
  /** Steady clock, ms: when the host's rules may be listed again. */
  #nextLookMs = 0;
  #held = new HeldOpenings();
  #narrowing: Promise<Narrowing> | undefined;
  /** The number of the last write of `#held`, the highest that has ended, and the sets written since the last install. */
  #version = 0;
  #ended = 0;
  readonly #written = new Set<string>();
  readonly #connections: SeenConnections;
  #installed: Installed | undefined;

  constructor(plan: GuardPlan, run: RunProgram, parts: NftParts) {
    this.#plan = plan;
    this.#run = run;
    this.#connections = new SeenConnections(run);
    this.#checked = new CheckedRules(parts.readGeneration);
    this.#table = new OwnTable(run, this.#checked, parts);
    this.#legacyProgram = IptablesProgram.legacyBeside({ run, ...parts });
    this.#host = new HostRules(new NftProgram(run), [this.#legacyProgram], {
      place: { priority: GUARD_PRIORITY, untracksKnocks: true },
      run,
    });
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    const startMs = performance.now();
    // A table that a dead process left is taken over; that of a living one, with another port and state, is its own.
    if (!this.#installed) await requireNoLivingOwner(await this.#table.owner(), this.#run);
    // The notes of a dead process are not taken over: it may not have acted on the last knock.
    const narrowing = await this.#loadNarrowing(openings);
    const notes = await narrowing?.notesToKeep(openings) ?? [];
    this.#checked.forget();
    this.#held = new HeldOpenings();
    this.#held.hold(openings, startMs);
    const host = await this.#host.look(this.#plan);
    if (!this.#installed) await this.#host.requireWayIn(this.#plan, host);
    const kept = await this.#connections.lookBefore(this.#plan.guardedPorts);
    const owner = await nameProcess(Deno.pid, this.#run);
    await this.#host.putOtherHoles(this.#plan, host);
    const version = ++this.#version;
    this.#written.clear();
    const live = this.#held.live(performance.now());
    const networks = narrowing?.render(this.#plan, live, notes);
    const extending = this.#plan.activeMs && await import("./extending.ts");
    const active = await this.activity(live.map(({ address }) => address));
    const further = extending
      ? extending.renderExtending(this.#plan, { openings: live, active, networks })
      : networks;
    await this.#table.transact(
      renderTable(this.#plan, {
        openings: live,
        kept: kept.connections,
        hole: host.hole,
        further,
        owner,
        stamps: await this.#table.stamps(),
      }) +
        renderNftHoles(this.#host.ownChanges(this.#plan, host)),
    );
    narrowing?.replace(openings, startMs);
    this.#ended = Math.max(this.#ended, version);
    kept.areInstalled();
    // A table that is gone already is seen by the next check.
    this.#installed = { table: await this.#table.read() ?? "", holes: host.hole };
    if (this.#ended > version) await this.#write({ sets: this.#written });
  }

  reconfigure(plan: GuardPlan): void {
    this.#connections.addPorts(subtractPortRanges(plan.guardedPorts, this.#plan.guardedPorts));
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    // Without networks in one step up to the kernel: each turn of the event loop would be in the time of a knock.
    const narrowing = this.#loadNarrowing(changes);
    if (narrowing) await (await narrowing).open(changes);
    await this.#write(this.#held.hold(changes, performance.now()));
  }

  restamp(): Promise<void> {
    return this.#table.restamp();
  }

  stampFlaw(): Promise<string | undefined> {
    return this.#table.stampFlaw();
  }

  /** Loaded once a grant may be for a network. */
  #loadNarrowing(openings: readonly ClientOpenings[]): Promise<Narrowing> | undefined {
    if (this.#plan.prefixes.length === 0 && openings.every(({ address }) => isSingle(address))) {
      return this.#narrowing;
    }
    return this.#narrowing ??= import("./narrowing.ts").then(({ Narrowing }) =>
      new Narrowing({
        listSet: (set) => this.#table.listSet(set),
        transact: (text) => this.#table.transact(text),
        close: (networks) => {
          const closed = networks.map((address) => ({ address, openings: [] }));
          return this.#write(this.#held.hold(closed, performance.now()));
        },
      })
    );
  }

  /** Where a later write ended first, this put something old over it: then the sets are written whole. */
  async #write(change: SetsChange): Promise<void> {
    for (let next = change; change.sets.size > 0; next = { sets: change.sets }) {
      for (const set of change.sets) this.#written.add(set);
      const version = ++this.#version;
      await this.#table.writeOpenings(next, () => this.#held.live(performance.now()));
      const isLatest = this.#ended < version;
      this.#ended = Math.max(this.#ended, version);
      if (isLatest) return;
    }
  }

  async isIntact(): Promise<boolean> {
    const installed = this.#installed;
    if (!installed) return false;
    const legacy = await this.#legacyProgram.fingerprint();
    const isAsChecked = this.#checked.isUnchanged() && legacy === this.#legacy;
    if (!isAsChecked && !await this.#isAsInstalled(installed, legacy)) return false;
    await this.#connections.look(this.#plan.guardedPorts);
    (await this.#narrowing)?.forgetEnded(performance.now());
    this.#held.live(performance.now()); // forgets what has ended
    return true;
  }

  async #isAsInstalled(installed: Installed, legacy: string | undefined): Promise<boolean> {
    const allInOrder = this.#checked.begin();
    if (await this.#table.read() !== installed.table || installed.table === "") return false;
    // Where others change a large ruleset all the time, openme's own table is looked at every time and theirs now and then.
    if (legacy === this.#legacy && performance.now() < this.#nextLookMs) return true;
    // A firewall that came up after openme may drop what it let in, or may have been loaded anew without the hole.
    const host = await this.#host.look(this.#plan);
    if (host.hole !== installed.holes || this.#host.lacksHoles(this.#plan, host)) {
      return false;
    }
    const { size } = host.own;
    this.#nextLookMs = size > LARGE_RULESET ? performance.now() + size * LOOK_APART_MS : 0;
    this.#legacy = legacy;
    allInOrder();
    return true;
  }

  async examine(): Promise<Examination> {
    const host = await this.#host.look(this.#plan);
    const barring = this.#host.barring(this.#plan, host);
    return {
      ...await this.#table.examine(this.#plan),
      barred: barring.map(({ family, table, name }) => `${family} ${table} ${name}`),
      hostMayDrop: host.onTheWay.some(mayDrop),
    };
  }

  async remove(): Promise<void> {
    // The table first: without it nothing carries the mark, and the holes let nobody in.
    await allInTurn([
      () => this.#table.transact(renderRemoval()),
      () => this.#host.takeOutHoles(),
    ]);
    this.#held = new HeldOpenings();
    this.#installed = undefined;
  }

  /** The kernel ends every grant; nothing depends on openme. */
  leave(): Promise<void> {
    return Promise.resolve();
  }

  list(): Promise<readonly Standing[] | undefined> {
    return this.#table.standing();
  }

  async openToEveryone(): Promise<{ ports: readonly PortRange[]; why: string } | undefined> {
    if (this.#plan.dropPorts) return undefined;
    return this.#host.openToEveryone(this.#plan, await this.#host.look(this.#plan));
  }

  async activity(networks: readonly Network[]): Promise<ReadonlyMap<string, number>> {
    if (!this.#plan.activeMs) return new Map();
    const { activeAmong } = await import("./extending.ts");
    return await activeAmong(networks, (set) => this.#table.listSet(set));
  }

  kernelDrops(): Promise<Record<string, number>> {
    return this.#table.drops();
  }
}
