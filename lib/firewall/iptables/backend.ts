/**
 * The iptables backend, for iptables-nft and iptables-legacy: runs what `iptables_rules.ts` and
 * `iptables_surroundings.ts` render, one `iptables-restore` a family. The kernel ends every opening by its date.
 */

import { formatNetwork } from "../../values/network.ts";
import { mergePortRanges, type PortRange, subtractPortRanges } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { Backend, BackendParts, ClientOpenings, Examination, Standing } from "../backend.ts";
import type { GuardPlan } from "../plan.ts";
import { allEnded } from "../all_ended.ts";
import { establishedConnections, keptConnections, nameOfConnection } from "../host/sockets.ts";
import type { Family } from "../host/families.ts";
import { examineMangle } from "./examine.ts";
import { IptablesProgram } from "./program.ts";
import {
  type DatedOpening,
  type OwnChains,
  parseKnockCounters,
  renderChains,
  renderGrants,
  renderRemoval,
} from "./rules.ts";
import { type IptablesHost, IptablesSurroundings } from "./host.ts";
import { CheckedRules } from "../host/generation.ts";
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
  readonly #surroundings: IptablesSurroundings;
  /** Every opening in force by its address: a change writes all of them anew. */
  readonly #openings = new Map<string, readonly DatedOpening[]>();
  /** Counts the changes of `#openings`, and which of them each family's chain holds. */
  #version = 0;
  readonly #written = new Map<Family, number>();
  /** Ports that are guarded only from the next install on: nobody has looked yet who is connected there. */
  #fresh: readonly PortRange[] = [];
  #installed: { fixed: string; hole: boolean } | undefined;
  #seen: ReadonlySet<string> | undefined;
  /** Those of iptables-nft; of the old tables no generation tells. */
  readonly #checked: CheckedRules;
  /** What at the last check could change without nf_tables. */
  #beside = "";

  constructor(program: IptablesProgram, { plan, run, readGeneration }: BackendParts) {
    this.name = program.name;
    this.#program = program;
    this.#plan = plan;
    this.#run = run;
    this.#surroundings = new IptablesSurroundings(program, run);
    this.#checked = new CheckedRules(program.isLegacy ? undefined : readGeneration);
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    const host = await this.#surroundings.look(this.#plan);
    if (!this.#installed) {
      await requireNoLivingOwner(host.own.get(4)?.owner, this.#run);
      await this.#surroundings.requireWayIn(this.#plan, host);
    }
    this.#checked.forget();
    this.#openings.clear();
    this.#remember(openings);
    const version = this.#version;
    const { texts, connections, fresh } = await this.#render(host);
    await this.#surroundings.putLegacyHoles(this.#plan, host);
    await allEnded([...texts].map(([family, text]) => this.#program.restore(family, text)));
    await this.#surroundings.putNftHoles(this.#plan, host);
    for (const family of texts.keys()) this.#written.set(family, version);
    this.#seen = new Set(connections.map(nameOfConnection));
    if (this.#fresh === fresh) this.#fresh = [];
    this.#installed = { fixed: fixedOf(await this.#surroundings.listOwn()), hole: host.hole };
  }

  reconfigure(plan: GuardPlan): void {
    const fresh = subtractPortRanges(plan.guardedPorts, this.#plan.guardedPorts);
    this.#fresh = [...this.#fresh, ...fresh];
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    this.#remember(changes);
    const families = await this.#program.families();
    const touched = families.filter((family) =>
      changes.some(({ address }) => address.base.family === family)
    );
    await this.#checked.ownChange(
      () => allEnded(touched.map((family) => this.#writeGrants(family))),
      touched.length,
    );
  }

  /** A run that was overtaken by a later one wrote something old over it: then the newest is written again. */
  async #writeGrants(family: Family): Promise<void> {
    while (true) {
      const version = this.#version;
      await this.#program.restore(family, this.#renderGrants(family));
      const overtaken = (this.#written.get(family) ?? 0) > version;
      this.#written.set(family, version);
      if (!overtaken) return;
    }
  }

  async isIntact(): Promise<boolean> {
    const installed = this.#installed;
    if (!installed) return false;
    const beside = await this.#surroundings.lookBeside();
    if (!this.#checked.isUnchanged() || beside !== this.#beside) {
      const allInOrder = this.#checked.begin();
      if (!await this.#isAsInstalled(installed)) return false;
      this.#beside = beside;
      allInOrder();
    }
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    this.#seen = new Set(connections.map(nameOfConnection));
    return true;
  }

  async #isAsInstalled(installed: { fixed: string; hole: boolean }): Promise<boolean> {
    const host = await this.#surroundings.look(this.#plan);
    if (fixedOf(host.own) !== installed.fixed || host.hole !== installed.hole) return false;
    // Behind a rule that accepts, openme's chain guards nothing.
    if (![...host.own.values()].every(({ isFirst }) => isFirst)) return false;
    return !this.#surroundings.lacksHoles(this.#plan, host);
  }

  async examine(): Promise<Examination> {
    const host = await this.#surroundings.look(this.#plan);
    const found = await Promise.all(
      [...host.own.keys()].map(async (family) => ({
        family,
        ...examineMangle(this.#plan, await this.#program.list(family, "mangle")),
      })),
    );
    return {
      wrong: found.flatMap(({ family, wrong }) => wrong.map((each) => `IPv${family}: ${each}`)),
      unguarded: mergePortRanges(found.flatMap(({ unguarded }) => unguarded)),
      barred: this.#surroundings.barring(this.#plan, host).map(({ family, table, name }) =>
        `${family} ${table} ${name}`
      ),
      hostMayDrop: this.#surroundings.mayDrop(host),
    };
  }

  async list(): Promise<readonly Standing[] | undefined> {
    const nowMs = Date.now();
    const listed = [...(await this.#surroundings.listOwn()).values()];
    if (listed.every(({ chains }) => chains.length === 0)) return undefined;
    // A rule stays after its date, and matches nothing then.
    return listed.flatMap(({ grants }) => grants).filter(({ endsAtMs }) => endsAtMs > nowMs);
  }

  async remove(): Promise<void> {
    await this.#surroundings.takeOut(renderRemoval);
    this.#openings.clear();
    this.#installed = undefined;
  }

  /** The kernel ends every opening by its date. */
  leave(): Promise<void> {
    return Promise.resolve();
  }

  async openToEveryone(): Promise<{ ports: readonly PortRange[]; why: string } | undefined> {
    if (this.#plan.dropPorts) return undefined;
    return this.#surroundings.openToEveryone(
      this.#plan,
      await this.#surroundings.look(this.#plan),
    );
  }

  async preview(openings: readonly ClientOpenings[]): Promise<string> {
    const host = await this.#surroundings.look(this.#plan);
    await this.#surroundings.requireWayIn(this.#plan, host);
    this.#openings.clear();
    this.#remember(openings);
    const { texts } = await this.#render(host);
    return [...texts].map(([family, text]) => this.#program.show(family, text)).join("") +
      this.#surroundings.showOtherHoles(this.#plan, host);
  }

  previewChanges(changes: readonly ClientOpenings[]): string {
    this.#remember(changes);
    return ([4, 6] as const).filter((family) =>
      changes.some(({ address }) => address.base.family === family)
    ).map((family) => this.#program.show(family, this.#renderGrants(family))).join("");
  }

  async kernelDrops(): Promise<Record<string, number>> {
    const total = { size: 0, rate: 0 };
    for (const family of await this.#program.families()) {
      const { size, rate } = parseKnockCounters(
        await this.#program.list(family, "mangle", { counters: true }),
      );
      total.size += size;
      total.rate += rate;
    }
    return total;
  }

  #remember(changes: readonly ClientOpenings[]): void {
    const nowMs = Date.now();
    this.#version++;
    for (const { address, openings } of changes) {
      const dated = openings.map(({ timeoutMs, ...ports }) => ({
        address,
        ports,
        endsAtMs: nowMs + timeoutMs,
      }));
      this.#openings.set(formatNetwork(address), dated);
    }
    for (const [text, dated] of this.#openings) {
      const left = dated.filter(({ endsAtMs }) => endsAtMs > nowMs);
      if (left.length === 0) this.#openings.delete(text);
    }
  }

  #renderGrants(family: Family): string {
    return renderGrants(family, this.#plan, [...this.#openings.values()].flat());
  }

  async #render(host: IptablesHost) {
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    const fresh = this.#fresh;
    const kept = keptConnections(connections, { seen: this.#seen, fresh });
    const owner = await nameProcess(Deno.pid, this.#run);
    const texts = new Map<Family, string>();
    for (const [family, present] of host.own) {
      texts.set(
        family,
        renderChains(family, this.#plan, {
          openings: [...this.#openings.values()].flat(),
          kept,
          hole: host.hole,
          owner,
          present,
          madeTable: present.madeTable || host.madeTable.includes(family),
        }) + this.#surroundings.renderHoles(this.#plan, host, family),
      );
    }
    return { texts, connections, fresh };
  }
}

/** Everything of openme's but the grants, to compare. */
function fixedOf(own: ReadonlyMap<Family, OwnChains>): string {
  return [...own].map(([family, { fixed }]) => `${family}\n${fixed}`).join("\n\n");
}
