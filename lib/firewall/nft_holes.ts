/**
 * Holes in the host's nftables chains for a backend that is not nft: the packets of iptables pass them too. Where there
 * is no `nft`, or no nf_tables in the kernel, there is nothing that it could have loaded.
 */

import { OpenmeError } from "../errors.ts";
import type { PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import type { HostChain } from "./host_chains.ts";
import { parseHostChains, parsePublished, renderHoleRemoval, renderHoles } from "./nft_host.ts";

const DEADLINE_MS = 5000;

/** The program is not there, or the kernel knows nothing of it. */
const NO_NFTABLES = /no such program|(Protocol|Operation) not supported/;

/** What nft shows of the host. */
export interface NftView {
  readonly isThere: boolean;
  readonly chains: readonly HostChain[];
  /** `undefined` where rules do not say which ports they send elsewhere. */
  readonly published: readonly PortRange[] | undefined;
  readonly hasMangle: boolean;
}

/** The host's own nft chains, seen from beside. */
export class NftHoles {
  readonly #run: RunProgram;
  readonly #besideIptables: boolean;

  /** With `besideIptables`, chains that iptables-nft keeps in nftables are left to iptables. */
  constructor(run: RunProgram, { besideIptables }: { besideIptables: boolean }) {
    this.#run = run;
    this.#besideIptables = besideIptables;
  }

  async look(): Promise<NftView> {
    let listing: string;
    try {
      listing = await this.#nft(["--json", "--terse", "list", "ruleset"]);
    } catch (error) {
      if (!(error instanceof OpenmeError) || !NO_NFTABLES.test(error.message)) throw error;
      return { isThere: false, chains: [], published: [], hasMangle: false };
    }
    const { ports, maps, unknown } = parsePublished(listing);
    return {
      isThere: true,
      chains: parseHostChains(listing).filter((chain) => !this.#belongsToIptables(chain)),
      published: unknown || maps.length > 0 ? undefined : ports,
      hasMangle: /"table": ?\{"family": ?"ip6?", ?"name": ?"mangle"/.test(listing),
    };
  }

  /** Puts the holes where they are wanted and takes all others out. */
  async put(
    chains: readonly HostChain[],
    want: { wanted: boolean; forward: boolean },
  ): Promise<void> {
    const text = this.render(chains, want);
    if (text) await this.#nft(["-f", "-"], text);
  }

  render(
    chains: readonly HostChain[],
    { wanted, forward }: { wanted: boolean; forward: boolean },
  ): string {
    if (!wanted) return renderHoleRemoval(chains);
    const onTheWay = chains.filter((chain) => isOnTheWay(chain, forward));
    const beside = chains.filter((chain) => !onTheWay.includes(chain));
    return renderHoles(onTheWay) + renderHoleRemoval(beside);
  }

  /** Whether a hole that is wanted is not there. */
  lacks(chains: readonly HostChain[], forward: boolean): boolean {
    return renderHoles(chains.filter((chain) => isOnTheWay(chain, forward))) !== "";
  }

  async takeOut(): Promise<void> {
    const { chains } = await this.look();
    await this.put(chains, { wanted: false, forward: false });
  }

  listChain({ family, table, name }: HostChain): Promise<string> {
    return this.#nft(["--handle", "list", "chain", family, table, name]);
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
      timeoutMs: DEADLINE_MS,
      ...(stdin === undefined ? {} : { stdin }),
    });
  }
}

function isOnTheWay({ hook }: HostChain, forward: boolean): boolean {
  return hook === "input" || (hook === "forward" && forward);
}
