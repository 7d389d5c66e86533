/**
 * The iptables backend, for iptables-nft and iptables-legacy: runs what `iptables_rules.ts` and `iptables_host.ts`
 * render, one `iptables-restore` a family. The kernel ends every opening by its date.
 */

import { formatAddress } from "../address.ts";
import type { PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend, ClientOpenings, GuardPlan, Standing } from "./backend.ts";
import type { BackendParts } from "./backends.ts";
import { type Connection, establishedConnections } from "./established.ts";
import type { Family } from "./families.ts";
import { type HostChain, mayDrop, portsOpenToEveryone } from "./host_chains.ts";
import { legacyChains } from "./host_view.ts";
import {
  HOST_TABLES,
  lacksHole,
  parseHostTable,
  parsePublished,
  renderByTable,
  renderHoleLines,
  renderHoleRemovalLines,
} from "./iptables_host.ts";
import { IptablesProgram } from "./iptables_program.ts";
import {
  type DatedOpening,
  type OwnChains,
  parseOwnChains,
  renderChains,
  renderGrants,
  renderRemoval,
} from "./iptables_rules.ts";
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
  readonly forward: boolean;
  readonly hole: boolean;
  readonly madeTable: boolean;
}

class IptablesBackend implements Backend {
  readonly name: string;
  readonly endsByKernel = true;
  readonly #program: IptablesProgram;
  #plan: GuardPlan;
  readonly #run: RunProgram;
  readonly #nft: NftHoles;
  /** Every opening in force by its address: a change writes all of them anew. */
  readonly #openings = new Map<string, readonly DatedOpening[]>();
  /** Counts the changes of `#openings`, and which of them each family's chain holds. */
  #version = 0;
  readonly #written = new Map<Family, number>();
  #installed: { fixed: string; hole: boolean } | undefined;
  #seen: ReadonlySet<string> | undefined;

  constructor(program: IptablesProgram, { plan, run }: BackendParts) {
    this.name = program.name;
    this.#program = program;
    this.#plan = plan;
    this.#run = run;
    this.#nft = new NftHoles(run, { besideIptables: !program.isLegacy });
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    const host = await this.#lookAtHost();
    if (!this.#installed) {
      await requireNoLivingOwner(host.own.get(4)?.owner, this.#run);
      await this.#requireWayIn(host);
    }
    this.#openings.clear();
    this.#remember(openings);
    const version = this.#version;
    const { texts, connections } = await this.#render(host);
    await Promise.all([...texts].map(([family, text]) => this.#program.restore(family, text)));
    await this.#nft.put(host.nftChains, { wanted: host.hole, forward: host.forward });
    for (const family of texts.keys()) this.#written.set(family, version);
    this.#seen = new Set(connections.map(nameOf));
    this.#installed = { fixed: fixedOf(await this.#listOwn()), hole: host.hole };
  }

  reconfigure(plan: GuardPlan): void {
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    this.#remember(changes);
    const families = await this.#program.families();
    const touched = families.filter((family) =>
      changes.some(({ address }) => address.family === family)
    );
    await Promise.all(touched.map((family) => this.#writeGrants(family)));
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
        chainsOf(host).some((chain) => this.#isOnTheWay(chain, host.forward) && lacksHole(chain))
      ) {
        return false;
      }
      if (this.#nft.lacks(host.nftChains, host.forward)) return false;
    }
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    this.#seen = new Set(connections.map(nameOf));
    return true;
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
    const all = [...chainsOf(host), ...host.nftChains].filter(({ hook }) => hook === "input");
    return portsOpenToEveryone(this.#plan.guardedPorts, all, [...host.own.keys()]);
  }

  async preview(openings: readonly ClientOpenings[]): Promise<string> {
    const host = await this.#lookAtHost();
    await this.#requireWayIn(host);
    this.#openings.clear();
    this.#remember(openings);
    const { texts } = await this.#render(host);
    const holes = this.#nft.render(host.nftChains, { wanted: host.hole, forward: host.forward });
    return [...texts].map(([family, text]) => this.#program.show(family, text)).join("") +
      (holes ? `nft -f - <<'END'\n${holes}END\n` : "");
  }

  previewChanges(changes: readonly ClientOpenings[]): string {
    this.#remember(changes);
    return ([4, 6] as const).filter((family) =>
      changes.some(({ address }) => address.family === family)
    ).map((family) => this.#program.show(family, this.#renderGrants(family))).join("");
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
      this.#openings.set(formatAddress(address), dated);
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
    const seen = this.#seen;
    const kept = seen ? connections.filter((each) => seen.has(nameOf(each))) : connections;
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
            (wanted.has(chain) ? renderHoleLines : renderHoleRemovalLines)([chain])
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
          madeTable: present.madeTable || host.madeTable,
        }) + holes,
      );
    }
    return { texts, connections };
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
    const known = published.every((each) => each !== undefined) && nft.published !== undefined;
    const forward = needsForward(
      this.#plan,
      known ? [...published.flatMap((each) => each ?? []), ...nft.published ?? []] : undefined,
    );
    const onTheWay = [...chainsOf({ chains }), ...nft.chains].filter((chain) =>
      this.#isOnTheWay(chain, forward)
    );
    return {
      own,
      chains,
      nftChains: nft.chains,
      forward,
      hole: !this.#plan.dropPorts || onTheWay.some(mayDrop),
      madeTable: !nft.hasMangle && nft.isThere && !this.#program.isLegacy,
    };
  }

  #isOnTheWay({ hook }: HostChain, forward: boolean): boolean {
    return hook === "input" || (hook === "forward" && forward);
  }

  /** Throws where a chain would drop what openme lets in, and no hole can help. */
  async #requireWayIn(host: Host): Promise<void> {
    const closed = [...chainsOf(host), ...host.nftChains].filter((chain) =>
      this.#isOnTheWay(chain, host.forward) ? chain.owned : chain.hook === "prerouting"
    );
    // What the other kind of iptables has loaded drops as well, and is out of reach.
    const legacy = this.#program.isLegacy
      ? []
      : (await legacyChains(this.#run)).filter((chain) => this.#isOnTheWay(chain, host.forward));
    await requireWayIn(
      this.#plan,
      [...closed, ...legacy],
      (chain) => this.#nft.listChain(chain),
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

function nameOf({ local, localPort, remote, remotePort }: Connection): string {
  return `${formatAddress(remote)} ${remotePort} ${formatAddress(local)} ${localPort}`;
}
