/**
 * The host around openme's chains of iptables: what stands in the mangle tables, which chains of others let-in traffic
 * passes, of iptables and of nftables, whether they need the hole, and what to do where none can be put.
 */

import { allInTurn } from "../all_ended.ts";
import type { PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { GuardPlan } from "../plan.ts";
import type { Family } from "../host/families.ts";
import { type HostChain, isOnTheWay, mayDrop } from "../host/chain.ts";
import {
  HOST_TABLES,
  parseHostTable,
  parsePublished,
  renderByTable,
  renderHoleLines,
  renderHoleRemovalLines,
} from "../host/read_iptables.ts";
import type { IptablesProgram } from "./program.ts";
import { type OwnChains, parseOwnChains } from "./rules.ts";
import { LegacyHoles, showRuns, type WantedHoles } from "../host/legacy_holes.ts";
import { requireFreeMark } from "../host/mark_users.ts";
import { needsForward } from "../host/read_nft.ts";
import { NftHoles } from "../host/nft_holes.ts";
import { portsOpenToEveryone } from "../host/open_to_everyone.ts";
import { requireWayIn } from "../host/reachability.ts";

/** What the host looks like now. */
export interface IptablesHost {
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

/** Looks anew each time; keeps nothing. */
export class IptablesSurroundings {
  readonly #program: IptablesProgram;
  readonly #run: RunProgram;
  readonly #nft: NftHoles;
  /** For iptables-nft, which does not see them; iptables-legacy has holes of its own there. */
  readonly #legacy: LegacyHoles | undefined;

  constructor(program: IptablesProgram, run: RunProgram) {
    this.#program = program;
    this.#run = run;
    this.#nft = new NftHoles(run, { besideIptables: !program.isLegacy });
    this.#legacy = program.isLegacy ? undefined : new LegacyHoles(run);
  }

  async look(plan: GuardPlan): Promise<IptablesHost> {
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
    const forward = needsForward(plan, known);
    const all = [...chainsOf({ chains }), ...nft.chains, ...legacy.chains];
    const onTheWay = all.filter((chain) => isOnTheWay(chain, { forward }));
    return {
      own,
      chains,
      nftChains: nft.chains,
      legacyChains: legacy.chains,
      published: known,
      forward,
      hole: !plan.dropPorts || onTheWay.some(mayDrop),
      madeTable: nft.isThere && !this.#program.isLegacy
        ? families.filter((family) => !nft.mangle.includes(family === 4 ? "ip" : "ip6"))
        : [],
    };
  }

  /** What changes without nf_tables: the rules of iptables-legacy, and whether there is IPv6. To compare. */
  async lookBeside(): Promise<string> {
    return JSON.stringify([await this.#program.families(), await this.#legacy?.look()]);
  }

  /** What stands of openme's own in each family. */
  async listOwn(): Promise<ReadonlyMap<Family, OwnChains>> {
    const families = await this.#program.families();
    return new Map(
      await Promise.all(
        families.map(async (family) =>
          [family, parseOwnChains(await this.#program.list(family, "mangle"))] as const
        ),
      ),
    );
  }

  /** Throws where a chain would drop what openme lets in and no hole can help, or where the mark is another's. */
  async requireWayIn(plan: GuardPlan, host: IptablesHost): Promise<void> {
    const all = [...chainsOf(host), ...host.nftChains, ...host.legacyChains];
    const chains = all.filter((chain) =>
      isOnTheWay(chain, host) ? chain.owned : chain.hook === "prerouting"
    );
    await this.#requireThrough(plan, chains, host);
    if (host.hole) await requireFreeMark(plan.mark, this.#run);
  }

  /** What puts the holes of one family where they are needed, and takes them out elsewhere; often empty. */
  renderHoles(plan: GuardPlan, host: IptablesHost, family: Family): string {
    return renderByTable(
      host.chains.get(family) ?? [],
      (chains) =>
        chains.flatMap((chain) =>
          host.hole && isOnTheWay(chain, host)
            ? renderHoleLines([chain], plan.mark)
            : renderHoleRemovalLines([chain])
        ),
    );
  }

  /** Those of iptables-legacy, beside iptables-nft. Where it does not take one, its chain is what keeps everyone out. */
  async putLegacyHoles(plan: GuardPlan, host: IptablesHost): Promise<void> {
    await this.#legacy?.put(
      host.legacyChains,
      wantedIn(plan, host),
      (chains) => this.#requireThrough(plan, chains, host),
    );
  }

  async putNftHoles(plan: GuardPlan, host: IptablesHost): Promise<void> {
    await this.#nft.put(host.nftChains, wantedIn(plan, host));
  }

  /** What {@linkcode putNftHoles} and {@linkcode putLegacyHoles} would run, as text. */
  showOtherHoles(plan: GuardPlan, host: IptablesHost): string {
    const want = wantedIn(plan, host);
    const holes = this.#nft.render(host.nftChains, want);
    return (holes ? `nft -f - <<'END'\n${holes}END\n` : "") +
      showRuns(this.#legacy?.render(host.legacyChains, want) ?? []);
  }

  /** Whether a hole is missing, or one of iptables-legacy is there that must not be. */
  lacksHoles(plan: GuardPlan, host: IptablesHost): boolean {
    return this.barring(plan, host).length > 0 ||
      (this.#legacy?.render(host.legacyChains, wantedIn(plan, host)) ?? []).length > 0;
  }

  /** The chains of iptables and nftables that lack the hole. */
  barring(plan: GuardPlan, host: IptablesHost): HostChain[] {
    if (!host.hole) return [];
    return [
      ...chainsOf(host).filter((chain) =>
        isOnTheWay(chain, host) && renderHoleLines([chain], plan.mark).length > 0
      ),
      ...host.nftChains.filter((chain) => this.#nft.lacks([chain], host.forward, plan.mark)),
    ];
  }

  /** Whether anything on the way may drop what openme lets in. */
  mayDrop(host: IptablesHost): boolean {
    return [...chainsOf(host), ...host.nftChains].some((chain) =>
      isOnTheWay(chain, host) && mayDrop(chain)
    );
  }

  /** Guarded ports that nothing closes, where the host is to close them. */
  openToEveryone(
    plan: GuardPlan,
    host: IptablesHost,
  ): { ports: readonly PortRange[]; why: string } | undefined {
    const all = [...chainsOf(host), ...host.nftChains, ...host.legacyChains];
    return portsOpenToEveryone(
      plan.guardedPorts,
      all.filter(({ hook }) => hook === "input"),
      [...host.own.keys()],
    );
  }

  /** Takes out everything that is openme's; also the tables that iptables-nft made for it, where they are empty. */
  async takeOut(removeOwn: (own: OwnChains) => string): Promise<void> {
    const made: Family[] = [];
    const takeOutOf = async (family: Family) => {
      const mangle = await this.#program.list(family, "mangle");
      const own = parseOwnChains(mangle);
      const text = removeOwn(own) +
        renderByTable(await this.#hostChains(family, mangle), renderHoleRemovalLines);
      if (text) await this.#program.restore(family, text);
      if (own.madeTable) made.push(family);
    };
    const families = await this.#program.families();
    await allInTurn([
      ...families.map((family) => () => takeOutOf(family)),
      () => this.#nft.takeOut(),
      async () => await this.#legacy?.takeOut(),
    ]);
    if (this.#program.isLegacy) return;
    for (const family of made) {
      await this.#nft.deleteEmptyTable(family === 4 ? "ip" : "ip6", "mangle");
    }
  }

  async #requireThrough(
    plan: GuardPlan,
    chains: readonly HostChain[],
    { published }: IptablesHost,
  ): Promise<void> {
    await requireWayIn(
      plan,
      { chains, published, untracksKnocks: false },
      (chain, place) => this.#nft.listChain(chain, place),
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

function chainsOf({ chains }: Pick<IptablesHost, "chains">): HostChain[] {
  return [...chains.values()].flat();
}

function wantedIn({ mark }: GuardPlan, { hole, forward }: IptablesHost): WantedHoles {
  return { wanted: hole, forward, mark };
}
