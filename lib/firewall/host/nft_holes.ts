/**
 * Holes in the host's nftables chains for a backend that is not nft: the packets of iptables pass them too. Where there
 * is no `nft`, or no nf_tables in the kernel, there is nothing that it could have loaded.
 */

import { OpenmeError } from "../../values/errors.ts";
import type { PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { type HostChain, isOnTheWay } from "./chain.ts";
import type { WantedHoles } from "./legacy_holes.ts";
import { type Entry, LISTING_DEADLINE_MS, listRuleset, type NftListing } from "./nft_listing.ts";
import { publishedPorts } from "./published.ts";
import { parseHostChains, renderHoleRemoval, renderHoles } from "./read_nft.ts";

const DEADLINE_MS = 5000;

/** What nft shows of the host. */
export interface NftView {
  readonly isThere: boolean;
  readonly chains: readonly HostChain[];
  /** `undefined` where rules do not say which ports they send elsewhere. */
  readonly published: readonly PortRange[] | undefined;
  /** The families that have a table `mangle`. */
  readonly mangle: readonly ("ip" | "ip6")[];
}

/** The host's own nft chains, seen from beside. */
export class NftHoles {
  readonly #run: RunProgram;
  readonly #besideIptables: boolean;
  #hasWorked = false;

  /** With `besideIptables`, chains that iptables-nft keeps in nftables are left to iptables. */
  constructor(run: RunProgram, { besideIptables }: { besideIptables: boolean }) {
    this.#run = run;
    this.#besideIptables = besideIptables;
  }

  async look(): Promise<NftView> {
    let listing: NftListing;
    try {
      listing = await listRuleset((args) => this.#nft(args));
      this.#hasWorked = true;
    } catch (error) {
      if (this.#hasWorked || !isUseless(error)) throw error;
      return { isThere: false, chains: [], published: [], mangle: [] };
    }
    const { entries, owned } = listing;
    return {
      isThere: true,
      chains: parseHostChains(entries, owned).filter((chain) => !this.#belongsToIptables(chain)),
      published: await publishedPorts(entries, (args) => this.#nft(args)),
      mangle: (["ip", "ip6"] as const).filter((family) => hasTable(entries, family, "mangle")),
    };
  }

  /** Puts the holes where they are wanted and takes all others out. */
  async put(
    chains: readonly HostChain[],
    want: WantedHoles,
  ): Promise<void> {
    const text = this.render(chains, want);
    if (text) await this.#nft(["-f", "-"], text);
  }

  render(
    chains: readonly HostChain[],
    { wanted, forward, mark }: WantedHoles,
  ): string {
    if (!wanted) return renderHoleRemoval(chains);
    const onTheWay = chains.filter((chain) => isOnTheWay(chain, { forward }));
    const beside = chains.filter((chain) => !onTheWay.includes(chain));
    return renderHoles(onTheWay, mark) + renderHoleRemoval(beside);
  }

  /** Whether a hole that is wanted is not there. */
  lacks(chains: readonly HostChain[], forward: boolean, mark: number): boolean {
    return renderHoles(chains.filter((chain) => isOnTheWay(chain, { forward })), mark) !== "";
  }

  async takeOut(): Promise<void> {
    const { chains } = await this.look();
    const text = renderHoleRemoval(chains);
    if (text) await this.#nft(["-f", "-"], text);
  }

  listChain({ family, table }: HostChain, place: string): Promise<string> {
    return this.#nft(["--handle", "list", "chain", family, table, place]);
  }

  /** Deletes a table that iptables-nft made and nothing is in any more. */
  async deleteEmptyTable(family: "ip" | "ip6", table: string): Promise<void> {
    let listing: string;
    try {
      listing = await this.#nft(["--json", "list", "table", family, table]);
    } catch {
      return; // gone already, or there is no nft to look with
    }
    const { nftables = [] } = JSON.parse(listing) as { nftables?: Record<string, unknown>[] };
    const isEmpty = nftables.every((entry) =>
      !("rule" in entry) && !("set" in entry) && !("map" in entry) &&
      (!("chain" in entry) || (entry["chain"] as { hook?: string; policy?: string }).hook !==
              undefined && (entry["chain"] as { policy?: string }).policy === "accept")
    );
    if (isEmpty) await this.#nft(["delete", "table", family, table]);
  }

  #belongsToIptables({ family, table, name }: HostChain): boolean {
    return this.#besideIptables && family !== "inet" &&
      ["filter", "mangle", "raw", "security", "nat"].includes(table) && name === name.toUpperCase();
  }

  #nft(args: string[], stdin?: string): Promise<string> {
    return this.#run({
      program: "nft",
      args,
      timeoutMs: args.includes("ruleset") ? LISTING_DEADLINE_MS : DEADLINE_MS,
      ...(stdin === undefined ? {} : { stdin }),
    });
  }
}

/** An nft that is not there, or that this kernel or the way it was built gives nothing to list. */
function isUseless(error: unknown): boolean {
  return error instanceof OpenmeError &&
    /no such program|failed with exit code/.test(error.message);
}

function hasTable(entries: readonly Entry[], family: string, name: string): boolean {
  return entries.some((entry) => {
    const place = entry.chain ?? entry.rule;
    const table = entry.table ? entry.table["name"] : place?.["table"];
    return table === name && (entry.table ?? place)?.["family"] === family;
  });
}
