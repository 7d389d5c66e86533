/**
 * The iptables backend, for iptables-nft and iptables-legacy: runs what `iptables_rules.ts` and `iptables_host.ts`
 * render, one `iptables-restore` a family. The kernel ends every opening by its date.
 */

import { formatNetwork } from "../network.ts";
import { mergePortRanges, type PortRange, subtractPortRanges } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend, ClientOpenings, Examination, GuardPlan, Standing } from "./backend.ts";
import type { BackendParts } from "./backends.ts";
import { allEnded } from "./all_ended.ts";
import { establishedConnections, keptConnections, nameOfConnection } from "./established.ts";
import type { Family } from "./families.ts";
import { type HostChain, mayDrop, portsOpenToEveryone } from "./host_chains.ts";
import {
  HOST_TABLES,
  parseHostTable,
  parsePublished,
  renderByTable,
  renderHoleLines,
  renderHoleRemovalLines,
} from "./iptables_host.ts";
import { examineMangle } from "./iptables_examine.ts";
import { IptablesProgram } from "./iptables_program.ts";
import {
  type DatedOpening,
  type OwnChains,
  parseOwnChains,
  renderChains,
  renderGrants,
  renderRemoval,
} from "./iptables_rules.ts";
import { findLeftOvers } from "./left_overs.ts";
import { LegacyHoles, showRuns, type WantedHoles } from "./legacy_holes.ts";
import { requireFreeMark } from "./mark_users.ts";
import { needsForward } from "./nft_host.ts";
import { NftHoles } from "./nft_holes.ts";
import { nameProcess, requireNoLivingOwner } from "./process_name.ts";
import { requireWayIn } from "./way_in.ts";

/** A backend that drives the given program, whichever of the two kinds it is. */
export async function makeIptables(program: string, parts: BackendParts): Promise<Backend> {
  return new IptablesBackend(await IptablesProgram.find(program, parts), parts);
}

/** What the host looks like now. */
interface Host {
  readonly own: ReadonlyMap<Family, OwnChains>;
  readonly chains: ReadonlyMap<Family, readonly HostChain[]>;
  readonly nftChains: readonly HostChain[];
  readonly legacyChains: readonly HostChain[];
  /** Ports that the host sends elsewhere; `undefined` where its rules do not say. */
  readonly published: readonly PortRange[] | undefined;
  readonly forward: boolean;
  readonly hole: boolean;
  /** The families whose mangle table is not there yet. */
  readonly madeTable: readonly Family[];
}

class IptablesBackend implements Backend {
  readonly name: string;
  readonly endsByKernel = true;
  readonly #program: IptablesProgram;
  #plan: GuardPlan;
  readonly #run: RunProgram;
  readonly #nft: NftHoles;
  /** For iptables-nft, which does not see them; iptables-legacy has holes of its own there. */
  readonly #legacy: LegacyHoles | undefined;
  /** Every opening in force by its address: a change writes all of them anew. */
  readonly #openings = new Map<string, readonly DatedOpening[]>();
  /** Counts the changes of `#openings`, and which of them each family's chain holds. */
  #version = 0;
  readonly #written = new Map<Family, number>();
  /** Ports that are guarded only from the next install on: nobody has looked yet who is connected there. */
  #fresh: readonly PortRange[] = [];
  #installed: { fixed: string; hole: boolean } | undefined;
  #seen: ReadonlySet<string> | undefined;

  constructor(program: IptablesProgram, { plan, run }: BackendParts) {
    this.name = program.name;
    this.#program = program;
    this.#plan = plan;
    this.#run = run;
    this.#nft = new NftHoles(run, { besideIptables: !program.isLegacy });
    this.#legacy = program.isLegacy ? undefined : new LegacyHoles(run);
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    const host = await this.#lookAtHost();
    let clearLeftOvers: (() => Promise<void>) | undefined;
    if (!this.#installed) {
      await requireNoLivingOwner(host.own.get(4)?.owner, this.#run);
      clearLeftOvers = await findLeftOvers(
        this.#program.isLegacy ? "iptables-legacy" : "iptables-nft",
        this.#run,
      );
      await this.#requireWayIn(host);
      if (host.hole) await requireFreeMark(this.#plan.mark, this.#run);
    }
    this.#openings.clear();
    this.#remember(openings);
    const version = this.#version;
    const { texts, connections, fresh } = await this.#render(host);
    const holes = this.#wantedIn(host);
    await this.#putLegacyHoles(host, holes);
    await allEnded([...texts].map(([family, text]) => this.#program.restore(family, text)));
    await this.#nft.put(host.nftChains, holes);
    await clearLeftOvers?.();
    for (const family of texts.keys()) this.#written.set(family, version);
    this.#seen = new Set(connections.map(nameOfConnection));
    if (this.#fresh === fresh) this.#fresh = [];
    this.#installed = { fixed: fixedOf(await this.#listOwn()), hole: host.hole };
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
    await allEnded(touched.map((family) => this.#writeGrants(family)));
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
    const host = await this.#lookAtHost();
    if (fixedOf(host.own) !== installed.fixed || host.hole !== installed.hole) return false;
    // Behind a rule that accepts, openme's chain guards nothing.
    if (![...host.own.values()].every(({ isFirst }) => isFirst)) return false;
    if (host.hole) {
      if (
        chainsOf(host).some((chain) =>
          this.#isOnTheWay(chain, host.forward) && this.#lacksHole(chain)
        )
      ) {
        return false;
      }
      if (this.#nft.lacks(host.nftChains, host.forward, this.#plan.mark)) return false;
    }
    const holes = this.#wantedIn(host);
    if (this.#legacy?.render(host.legacyChains, holes).length) return false;
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    this.#seen = new Set(connections.map(nameOfConnection));
    return true;
  }

  async examine(): Promise<Examination> {
    const host = await this.#lookAtHost();
    const found = await Promise.all(
      [...host.own.keys()].map(async (family) => ({
        family,
        ...examineMangle(this.#plan, await this.#program.list(family, "mangle")),
      })),
    );
    const onTheWay = [...chainsOf(host), ...host.nftChains].filter((chain) =>
      this.#isOnTheWay(chain, host.forward)
    );
    const lacks = (chain: HostChain) =>
      host.nftChains.includes(chain)
        ? this.#nft.lacks([chain], host.forward, this.#plan.mark)
        : this.#lacksHole(chain);
    return {
      wrong: found.flatMap(({ family, wrong }) => wrong.map((each) => `IPv${family}: ${each}`)),
      unguarded: mergePortRanges(found.flatMap(({ unguarded }) => unguarded)),
      barred: host.hole
        ? onTheWay.filter(lacks).map(({ family, table, name }) => `${family} ${table} ${name}`)
        : [],
      hostMayDrop: onTheWay.some(mayDrop),
    };
  }

  async list(): Promise<readonly Standing[] | undefined> {
    const nowMs = Date.now();
    const listed = [...(await this.#listOwn()).values()];
    if (listed.every(({ chains }) => chains.length === 0)) return undefined;
    // A rule stays after its date, and matches nothing then.
    return listed.flatMap(({ grants }) => grants).filter(({ endsAtMs }) => endsAtMs > nowMs);
  }

  async remove(): Promise<void> {
    const families = await this.#program.families();
    const made: Family[] = [];
    for (const family of families) {
      const mangle = await this.#program.list(family, "mangle");
      const own = parseOwnChains(mangle);
      const text = renderRemoval(own) +
        renderByTable(await this.#hostChains(family, mangle), renderHoleRemovalLines);
      if (text) await this.#program.restore(family, text);
      if (own.madeTable) made.push(family);
    }
    await this.#nft.takeOut();
    await this.#legacy?.takeOut();
    if (!this.#program.isLegacy) {
      for (const family of made) {
        await this.#nft.deleteEmptyTable(family === 4 ? "ip" : "ip6", "mangle");
      }
    }
    this.#openings.clear();
    this.#installed = undefined;
  }

  /** The kernel ends every opening by its date. */
  leave(): Promise<void> {
    return Promise.resolve();
  }

  async openToEveryone(): Promise<{ ports: readonly PortRange[]; why: string } | undefined> {
    if (this.#plan.dropPorts) return undefined;
    const host = await this.#lookAtHost();
    const all = [...chainsOf(host), ...host.nftChains, ...host.legacyChains];
    return portsOpenToEveryone(
      this.#plan.guardedPorts,
      all.filter(({ hook }) => hook === "input"),
      [...host.own.keys()],
    );
  }

  async preview(openings: readonly ClientOpenings[]): Promise<string> {
    const host = await this.#lookAtHost();
    await this.#requireWayIn(host);
    if (host.hole) await requireFreeMark(this.#plan.mark, this.#run);
    this.#openings.clear();
    this.#remember(openings);
    const { texts } = await this.#render(host);
    const want = this.#wantedIn(host);
    const holes = this.#nft.render(host.nftChains, want);
    return [...texts].map(([family, text]) => this.#program.show(family, text)).join("") +
      (holes ? `nft -f - <<'END'\n${holes}END\n` : "") +
      showRuns(this.#legacy?.render(host.legacyChains, want) ?? []);
  }

  previewChanges(changes: readonly ClientOpenings[]): string {
    this.#remember(changes);
    return ([4, 6] as const).filter((family) =>
      changes.some(({ address }) => address.base.family === family)
    ).map((family) => this.#program.show(family, this.#renderGrants(family))).join("");
  }

  #lacksHole(chain: HostChain): boolean {
    return renderHoleLines([chain], this.#plan.mark).length > 0;
  }

  #wantedIn({ hole, forward }: Host): WantedHoles {
    return { wanted: hole, forward, mark: this.#plan.mark };
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

  async #render(host: Host) {
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    const fresh = this.#fresh;
    const kept = keptConnections(connections, { seen: this.#seen, fresh });
    const owner = await nameProcess(Deno.pid, this.#run);
    const texts = new Map<Family, string>();
    for (const [family, present] of host.own) {
      const chains = host.chains.get(family) ?? [];
      const wanted = new Set(
        chains.filter((chain) => host.hole && this.#isOnTheWay(chain, host.forward)),
      );
      const holes = renderByTable(
        chains,
        (each) =>
          each.flatMap((chain) =>
            wanted.has(chain)
              ? renderHoleLines([chain], this.#plan.mark)
              : renderHoleRemovalLines([chain])
          ),
      );
      texts.set(
        family,
        renderChains(family, this.#plan, {
          openings: [...this.#openings.values()].flat(),
          kept,
          hole: host.hole,
          owner,
          present,
          madeTable: present.madeTable || host.madeTable.includes(family),
        }) + holes,
      );
    }
    return { texts, connections, fresh };
  }

  async #lookAtHost(): Promise<Host> {
    const families = await this.#program.families();
    const own = new Map<Family, OwnChains>();
    const chains = new Map<Family, readonly HostChain[]>();
    const published: (readonly PortRange[] | undefined)[] = [];
    for (const family of families) {
      const mangle = await this.#program.list(family, "mangle");
      own.set(family, parseOwnChains(mangle));
      chains.set(family, await this.#hostChains(family, mangle));
      published.push(parsePublished(await this.#program.list(family, "nat")));
    }
    const nft = await this.#nft.look();
    const legacy = await this.#legacy?.look() ?? { chains: [], published: [] };
    published.push(nft.published, legacy.published);
    const known = published.every((each) => each !== undefined)
      ? published.flatMap((each) => each ?? [])
      : undefined;
    const forward = needsForward(this.#plan, known);
    const all = [...chainsOf({ chains }), ...nft.chains, ...legacy.chains];
    const onTheWay = all.filter((chain) => this.#isOnTheWay(chain, forward));
    return {
      own,
      chains,
      nftChains: nft.chains,
      legacyChains: legacy.chains,
      published: known,
      forward,
      hole: !this.#plan.dropPorts || onTheWay.some(mayDrop),
      madeTable: nft.isThere && !this.#program.isLegacy
        ? families.filter((family) => !nft.mangle.includes(family === 4 ? "ip" : "ip6"))
        : [],
    };
  }

  #isOnTheWay({ hook }: HostChain, forward: boolean): boolean {
    return hook === "input" || (hook === "forward" && forward);
  }

  /** Throws where a chain would drop what openme lets in, and no hole can help. */
  async #requireWayIn(host: Host): Promise<void> {
    const chains = [...chainsOf(host), ...host.nftChains].filter((chain) =>
      this.#isOnTheWay(chain, host.forward) ? chain.owned : chain.hook === "prerouting"
    );
    await this.#requireThrough(chains, host.published);
  }

  /** Where iptables-legacy does not take the hole, its chain is what keeps everyone out. */
  async #putLegacyHoles({ legacyChains, published }: Host, want: WantedHoles): Promise<void> {
    try {
      await this.#legacy?.put(legacyChains, want);
    } catch (cause) {
      const chains = legacyChains.filter((chain) => this.#isOnTheWay(chain, want.forward));
      await this.#requireThrough(chains, published);
      throw cause;
    }
  }

  async #requireThrough(
    chains: readonly HostChain[],
    published: readonly PortRange[] | undefined,
  ): Promise<void> {
    await requireWayIn(
      this.#plan,
      { chains, published, untracksKnocks: false },
      (chain, place) => this.#nft.listChain(chain, place),
    );
  }

  async #listOwn(): Promise<ReadonlyMap<Family, OwnChains>> {
    const families = await this.#program.families();
    return new Map(
      await Promise.all(
        families.map(async (family) =>
          [family, parseOwnChains(await this.#program.list(family, "mangle"))] as const
        ),
      ),
    );
  }

  /** Every chain of the host's that a packet on its way in may pass. */
  async #hostChains(family: Family, mangle: string): Promise<HostChain[]> {
    const chains = await Promise.all(HOST_TABLES.map(async (table) => {
      const listing = table === "mangle" ? mangle : await this.#program.list(family, table);
      return parseHostTable(family === 4 ? "ip" : "ip6", table, listing);
    }));
    return chains.flat();
  }
}

function chainsOf({ chains }: Pick<Host, "chains">): HostChain[] {
  return [...chains.values()].flat();
}

/** Everything of openme's but the grants, to compare. */
function fixedOf(own: ReadonlyMap<Family, OwnChains>): string {
  return [...own].map(([family, { fixed }]) => `${family}\n${fixed}`).join("\n\n");
}
