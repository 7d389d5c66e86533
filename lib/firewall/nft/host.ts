/**
 * The host around openme's table: which chains of others let-in traffic passes, whether they need the hole, and what to do
 * where none can be put.
 */

import { allInTurn } from "../all_ended.ts";
import type { PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { GuardPlan } from "../plan.ts";
import { type HostChain, mayDrop } from "../host/chain.ts";
import { LegacyHoles, type LegacyView, showRuns, type WantedHoles } from "../host/legacy_holes.ts";
import { requireFreeMark } from "../host/mark_users.ts";
import { needsForward, parseHostChains, renderHoleRemoval, renderHoles } from "../host/read_nft.ts";
import { listRuleset } from "../host/nft_listing.ts";
import { publishedPorts } from "../host/published.ts";
import { GUARD_PRIORITY } from "./rules.ts";
import { portsOpenToEveryone } from "../host/open_to_everyone.ts";
import { barringChains, requireWayIn } from "../host/reachability.ts";

/** The host's chains as openme meets them. */
export interface NftHost {
  readonly chains: readonly HostChain[];
  /** Those that granted traffic passes after it was marked. */
  readonly onTheWay: readonly HostChain[];
  readonly beside: readonly HostChain[];
  /** Those of iptables-legacy, which take their holes through it. */
  readonly legacy: readonly HostChain[];
  readonly published: readonly PortRange[] | undefined;
  readonly forward: boolean;
  readonly hole: boolean;
  /** How many chains, rules and sets nft has listed. */
  readonly size: number;
}

/** What `nft` says with these arguments; throws as a backend does. */
type Nft = (args: string[]) => Promise<string>;

/** Looks anew each time; keeps nothing. */
export class NftSurroundings {
  readonly #nft: Nft;
  readonly #run: RunProgram;
  readonly #legacy: LegacyHoles;

  constructor(nft: Nft, run: RunProgram) {
    this.#nft = nft;
    this.#run = run;
    this.#legacy = new LegacyHoles(run);
  }

  /** What iptables-legacy shows: of its changes nf_tables knows nothing. */
  lookAtLegacy(): Promise<LegacyView> {
    return this.#legacy.look();
  }

  /** Which of the host's chains granted traffic passes, and whether it needs holes there. */
  async look(plan: GuardPlan, legacy?: LegacyView): Promise<NftHost> {
    const { entries, owned } = await listRuleset(this.#nft);
    const chains = parseHostChains(entries, owned);
    const old = legacy ?? await this.#legacy.look();
    const own = await publishedPorts(entries, this.#nft);
    const published = own && old.published && [...own, ...old.published];
    const forward = needsForward(plan, published);
    const isOnTheWay = ({ hook, priority }: HostChain) =>
      hook === "input" || (hook === "forward" && forward) ||
      // Only behind openme's own chain does a packet carry the mark.
      (hook === "prerouting" && priority > GUARD_PRIORITY);
    const onTheWay = chains.filter(isOnTheWay);
    return {
      chains,
      onTheWay,
      beside: chains.filter((chain) => !isOnTheWay(chain)),
      legacy: old.chains,
      published,
      forward,
      hole: !plan.dropPorts || [...onTheWay, ...old.chains.filter(isOnTheWay)].some(mayDrop),
      size: entries.length,
    };
  }

  /** Throws where a chain would drop what openme lets in and no hole can help, or where the mark is another's. */
  async requireWayIn(
    plan: GuardPlan,
    { chains, onTheWay, legacy, published, hole }: NftHost,
  ): Promise<void> {
    const closed = [...chains, ...legacy].filter((chain) =>
      onTheWay.includes(chain) ? chain.owned : chain.hook === "prerouting"
    );
    await this.#requireThrough(plan, closed, published);
    if (hole) await requireFreeMark(plan.mark, this.#run);
  }

  /** What puts the holes where they are needed, and takes them out elsewhere: a part of a transaction, often empty. */
  renderHoles(plan: GuardPlan, { hole, onTheWay, beside, chains }: NftHost): string {
    return hole
      ? renderHoles(onTheWay, plan.mark) + renderHoleRemoval(beside)
      : renderHoleRemoval(chains);
  }

  /** Puts those of iptables-legacy. Where it does not take one, its chain is what keeps everyone out. */
  async putLegacyHoles(plan: GuardPlan, host: NftHost): Promise<void> {
    const { legacy, published } = host;
    await this.#legacy.put(
      legacy,
      wantedIn(plan, host),
      (chains) => this.#requireThrough(plan, chains, published),
    );
  }

  /** The programs that {@linkcode putLegacyHoles} would run, as text. */
  showLegacyHoles(plan: GuardPlan, host: NftHost): string {
    return showRuns(this.#legacy.render(host.legacy, wantedIn(plan, host)));
  }

  /** Whether a hole is missing, or one is there that must not be. */
  lacksHoles(plan: GuardPlan, host: NftHost): boolean {
    return (host.hole && renderHoles(host.onTheWay, plan.mark) !== "") ||
      this.#legacy.render(host.legacy, wantedIn(plan, host)).length > 0;
  }

  /** The chains that keep out what openme lets in. */
  barring(plan: GuardPlan, { hole, onTheWay, published }: NftHost): HostChain[] {
    if (!hole) return [];
    // No hole can be put into an owned chain: only what it surely drops counts.
    const owned = onTheWay.filter((chain) => chain.owned);
    return [
      ...onTheWay.filter((chain) => !chain.owned && renderHoles([chain], plan.mark) !== ""),
      ...barringChains(plan, { chains: owned, published, untracksKnocks: plan.openKnockPort }),
    ];
  }

  /** Guarded ports that nothing closes, where the host is to close them. */
  openToEveryone(
    plan: GuardPlan,
    { chains, legacy }: NftHost,
  ): { ports: readonly PortRange[]; why: string } | undefined {
    return portsOpenToEveryone(
      plan.guardedPorts,
      [...chains, ...legacy].filter(({ hook }) => hook === "input"),
    );
  }

  /** Takes out every hole there is. */
  async takeOut(transact: (text: string) => Promise<unknown>): Promise<void> {
    await allInTurn([
      async () => {
        const { entries } = await listRuleset(this.#nft);
        const holes = renderHoleRemoval(parseHostChains(entries));
        if (holes) await transact(holes);
      },
      () => this.#legacy.takeOut(),
    ]);
  }

  async #requireThrough(
    plan: GuardPlan,
    chains: readonly HostChain[],
    published: readonly PortRange[] | undefined,
  ): Promise<void> {
    await requireWayIn(
      plan,
      { chains, published, untracksKnocks: plan.openKnockPort },
      ({ family, table }, place) => this.#nft(["--handle", "list", "chain", family, table, place]),
    );
  }
}

function wantedIn({ mark }: GuardPlan, { hole, forward }: NftHost): WantedHoles {
  return { wanted: hole, forward, mark };
}
