/**
 * The iptables backend, for iptables-nft and iptables-legacy: runs what `rules.ts` and `host/hole.ts` render, one
 * `iptables-restore` a family. The kernel ends every opening by its date.
 */

import { allEnded, allInTurn } from "../run.ts";
import { mergePortRanges, type PortRange, subtractPortRanges } from "../../values/ports.ts";
import type { Log } from "../../system/log.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type {
  Backend,
  BackendParts,
  ClientOpenings,
  Examination,
  KnockStamp,
  Standing,
} from "../backend.ts";
import type { GuardPlan } from "../plan.ts";
import { type Connection, SeenConnections } from "../host/sockets.ts";
import { type Family, familyName } from "../host/families.ts";
import { examineMangle } from "./examine.ts";
import { parseKnockCounters } from "./knocks.ts";
import { DatedOpenings } from "./openings.ts";
import { fixedOf, ownChainsIn, parseOwnChains } from "./own_chains.ts";
import { GUARD_PRIORITY, renderChains, renderGrants, renderRemoval } from "./rules.ts";
import { StampWriter } from "./stamps.ts";
import { mayDrop } from "../host/chain.ts";
import { CheckedRules } from "../host/generation.ts";
import { renderIptablesHoles } from "../host/hole.ts";
import { IptablesProgram, type IptablesView } from "../host/iptables.ts";
import { type Host, HostRules } from "../host/look.ts";
import { deleteEmptyTable, lacksTable, NftProgram } from "../host/nft.ts";
import { nameProcess, requireNoLivingOwner } from "../owner.ts";

/** A backend that drives the given program, whichever of the two kinds it is. */
export async function makeIptables(program: string, parts: BackendParts): Promise<Backend> {
  return new IptablesBackend(await IptablesProgram.find(program, parts), parts);
}

class IptablesBackend implements Backend {
  readonly name: string;
  readonly endsByKernel = true;
  readonly #program: IptablesProgram;
  #plan: GuardPlan;
  readonly #run: RunProgram;
  readonly #log: Log;
  readonly #host: HostRules<IptablesView>;
  /** Its changes do not show in the generation of nf_tables. */
  readonly #legacy: IptablesProgram;
  readonly #openings = new DatedOpenings();
  /** Which version of them each family's chain holds. */
  readonly #written = new Map<Family, number>();
  readonly #stamps: StampWriter;
  readonly #connections: SeenConnections;
  #installed: { fixed: string; hole: boolean } | undefined;
  readonly #checked: CheckedRules;
  /** What the last check saw outside nf_tables, to compare; `undefined` where it has to list everything. */
  #beside: string | undefined;

  constructor(program: IptablesProgram, parts: BackendParts) {
    const { plan, run, log, readGeneration, stamps } = parts;
    this.name = program.name;
    this.#program = program;
    this.#plan = plan;
    this.#run = run;
    this.#log = log;
    this.#connections = new SeenConnections(run);
    this.#legacy = program.isLegacy ? program : IptablesProgram.legacyBeside(parts);
    const nft = new NftProgram(run, {
      beside: program.isLegacy ? "iptables-legacy" : "iptables-nft",
    });
    this.#host = new HostRules(program, [...program.isLegacy ? [] : [this.#legacy], nft], {
      place: { priority: GUARD_PRIORITY, untracksKnocks: false },
      run,
    });
    this.#checked = new CheckedRules(readGeneration);
    this.#stamps = new StampWriter(program, { stamps, checked: this.#checked });
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    const host = await this.#host.look(this.#plan);
    if (!this.#installed) {
      await requireNoLivingOwner(ownChainsIn(host.own.mangle).get(4)?.owner, this.#run);
      await this.#host.requireWayIn(this.#plan, host);
      if (!host.own.mangle.has(6)) {
        this.#log.warn("no_ipv6", { backend: this.name, doing: "guarding IPv4 only" });
      }
    }
    this.#checked.forget();
    this.#openings.clear();
    const version = this.#openings.change(openings);
    const kept = await this.#connections.lookBefore(this.#plan.guardedPorts);
    await this.#stamps.installWith(async (stamps) => {
      const texts = await this.#render(host, { kept: kept.connections, stamps: stamps?.() });
      await this.#host.putOtherHoles(this.#plan, host);
      await allEnded([...texts].map(([family, text]) => this.#program.restore(family, text)));
      for (const family of texts.keys()) this.#written.set(family, version);
    });
    kept.areInstalled();
    this.#installed = {
      fixed: fixedOf(ownChainsIn(await this.#program.listAll("mangle"))),
      hole: host.hole,
    };
  }

  reconfigure(plan: GuardPlan): void {
    this.#connections.addPorts(subtractPortRanges(plan.guardedPorts, this.#plan.guardedPorts));
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    this.#openings.change(changes);
    const families = await this.#program.families();
    const touched = families.filter((family) =>
      changes.some(({ address }) => address.base.family === family)
    );
    await this.#checked.ownChange(
      () => allEnded(touched.map((family) => this.#writeGrants(family))),
      touched.length,
    );
  }

  /** If a later run ended before this one, this one wrote older openings over it: the newest are written again. */
  async #writeGrants(family: Family): Promise<void> {
    while (true) {
      const { version } = this.#openings;
      const text = renderGrants(family, this.#plan, this.#openings.all());
      await this.#program.restore(family, text);
      const overtaken = (this.#written.get(family) ?? 0) > version;
      this.#written.set(family, version);
      if (!overtaken) return;
    }
  }

  restamp(): Promise<void> {
    return this.#stamps.restamp();
  }

  stampFlaw(): Promise<string | undefined> {
    return this.#stamps.flaw();
  }

  async isIntact(): Promise<boolean> {
    const installed = this.#installed;
    if (!installed) return false;
    const families = await this.#program.families();
    const legacy = await this.#legacy.fingerprint();
    const beside = legacy === undefined ? undefined : `${families.join()}\n${legacy}`;
    if (beside === undefined || beside !== this.#beside || !this.#checked.isUnchanged()) {
      const allInOrder = this.#checked.begin();
      if (!await this.#isAsInstalled(installed)) return false;
      this.#beside = beside;
      allInOrder();
    }
    await this.#connections.look(this.#plan.guardedPorts);
    return true;
  }

  async #isAsInstalled(installed: { fixed: string; hole: boolean }): Promise<boolean> {
    const host = await this.#host.look(this.#plan);
    const own = ownChainsIn(host.own.mangle);
    if (fixedOf(own) !== installed.fixed || host.hole !== installed.hole) return false;
    // Behind a rule that accepts, openme's chain would guard nothing.
    if (![...own.values()].every(({ isFirst }) => isFirst)) return false;
    return !this.#host.lacksHoles(this.#plan, host);
  }

  async examine(): Promise<Examination> {
    const host = await this.#host.look(this.#plan);
    const found = [...host.own.mangle].map(([family, listing]) => ({
      family,
      ...examineMangle(this.#plan, listing),
    }));
    return {
      wrong: found.flatMap(({ family, wrong }) => wrong.map((each) => `IPv${family}: ${each}`)),
      unguarded: mergePortRanges(found.flatMap(({ unguarded }) => unguarded)),
      barred: this.#host.barring(this.#plan, host).map(({ family, table, name }) =>
        `${family} ${table} ${name}`
      ),
      hostMayDrop: host.onTheWay.some(mayDrop),
    };
  }

  async list(): Promise<readonly Standing[] | undefined> {
    const nowMs = Date.now();
    const listed = [...ownChainsIn(await this.#program.listAll("mangle")).values()];
    if (listed.every(({ chains }) => chains.length === 0)) return undefined;
    // A rule stays after its date, and matches nothing then.
    return listed.flatMap(({ grants }) => grants).filter(({ endsAtMs }) => endsAtMs > nowMs);
  }

  async remove(): Promise<void> {
    const families = await this.#program.families();
    const made: Family[] = [];
    await allInTurn([
      ...families.map((family) => async () => {
        const own = parseOwnChains(await this.#program.list(family, "mangle"));
        if (own.chains.length > 0) await this.#program.restore(family, renderRemoval(own));
        if (own.madeTable) made.push(family);
      }),
      () => this.#host.takeOutHoles(),
    ]);
    for (const family of made) await deleteEmptyTable(familyName(family), "mangle", this.#run);
    this.#openings.clear();
    this.#installed = undefined;
  }

  /** The kernel ends every opening by its date. */
  leave(): Promise<void> {
    return Promise.resolve();
  }

  async openToEveryone(): Promise<{ ports: readonly PortRange[]; why: string } | undefined> {
    if (this.#plan.dropPorts) return undefined;
    return this.#host.openToEveryone(this.#plan, await this.#host.look(this.#plan));
  }

  async kernelDrops(): Promise<Record<string, number>> {
    const listings = await this.#program.listAll("mangle", { counters: true });
    return parseKnockCounters([...listings.values()].join("\n"));
  }

  async #render(
    host: Host<IptablesView>,
    { kept, stamps }: {
      kept: readonly Connection[];
      stamps: readonly KnockStamp[] | undefined;
    },
  ): Promise<ReadonlyMap<Family, string>> {
    const owner = await nameProcess(Deno.pid, this.#run);
    const holes = this.#host.ownChanges(this.#plan, host);
    const texts = new Map<Family, string>();
    for (const [family, present] of ownChainsIn(host.own.mangle)) {
      const name = familyName(family);
      const chains = renderChains(family, this.#plan, {
        openings: this.#openings.all(),
        kept,
        stamps,
        hole: host.hole,
        owner,
        present,
        madeTable: present.madeTable ||
          (!this.#program.isLegacy && await lacksTable(name, "mangle", this.#run)),
      });
      const own = holes.filter(({ chain }) => chain.family === name);
      texts.set(family, chains + renderIptablesHoles(own));
    }
    return texts;
  }
}
