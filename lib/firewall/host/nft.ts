/** Runs `nft` to list the host's nftables rules, and to change its holes in them. */

import { OpenmeError } from "../../values/errors.ts";
import type { PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { FirewallRun } from "../run.ts";
import type { HostChain } from "./chain.ts";
import { type HoleChange, renderNftHoles } from "./hole.ts";
import type { HostProgram, ProgramView } from "./look.ts";
import { type Entry, listRuleset, nftRun, parseEntries, runNft } from "./nft_listing.ts";
import { isTableOfIptables } from "./read_iptables.ts";
import { parseHostChains, parseMapPorts, publishedInRules } from "./read_nft.ts";

/** What nft shows of the host. */
export interface NftView extends ProgramView {
  /** How many chains, rules and sets it has listed. */
  readonly size: number;
}

/** The chains of nftables. */
export class NftProgram implements HostProgram<NftView> {
  readonly name = "nft";
  readonly #run: RunProgram;
  readonly #beside: string | undefined;
  #hasWorked = false;

  /**
   * `beside` is the program that the backend drives, if that is not nft. Then nft need not work here: where it does not,
   * it has loaded no rules. Chains that iptables-nft keeps in nftables are left to iptables-nft.
   */
  constructor(run: RunProgram, { beside }: { beside?: string } = {}) {
    this.#run = run;
    this.#beside = beside;
  }

  async look(): Promise<NftView> {
    try {
      const { entries, owned } = await listRuleset(this.#run);
      this.#hasWorked = true;
      return {
        chains: parseHostChains(entries, owned).filter((chain) => !this.#isLeftOut(chain)),
        published: await this.#published(entries),
        size: entries.length,
      };
    } catch (error) {
      const isUseless = error instanceof OpenmeError &&
        /no such program|failed with exit code/.test(error.message);
      if (this.#beside === undefined || this.#hasWorked || !isUseless) throw error;
      return { chains: [], published: [], size: 0 };
    }
  }

  render(changes: readonly HoleChange[]): FirewallRun[] {
    return changes.length > 0 ? [nftRun(["-f", "-"], renderNftHoles(changes))] : [];
  }

  #isLeftOut({ family, table, name }: HostChain): boolean {
    return this.#beside === "iptables-nft" && isTableOfIptables(family, table) &&
      name === name.toUpperCase();
  }

  async #published(entries: readonly Entry[]): Promise<PortRange[] | undefined> {
    const { ports, maps, unknown } = publishedInRules(entries);
    const found = [...ports];
    for (const map of maps) {
      // A map that cannot be listed, as one that was just deleted, says nothing of ports. The holes are still found.
      const args = ["--json", "list", "map", ...map.split(" ")];
      const keys = await runNft(this.#run, args).then(parseMapPorts, () => undefined);
      if (!keys) return undefined;
      found.push(...keys);
    }
    return unknown ? undefined : found;
  }
}

/** Whether a table is surely not there. */
export async function lacksTable(
  family: "ip" | "ip6",
  table: string,
  run: RunProgram,
): Promise<boolean> {
  return await runNft(run, ["--terse", "list", "table", family, table])
    .then(() => false, (error) => /No such file or directory/.test(String(error)));
}

/** Deletes a table that iptables-nft made, if nothing is in it any more. */
export async function deleteEmptyTable(
  family: "ip" | "ip6",
  table: string,
  run: RunProgram,
): Promise<void> {
  // Without the table, or without nft, the listing is empty.
  const listing = await runNft(run, ["--json", "list", "table", family, table]).catch(() => "");
  const isEmpty = parseEntries(listing)?.every(({ chain, rule, set, map }) =>
    !rule && !set && !map &&
    (!chain || (chain["hook"] !== undefined && chain["policy"] === "accept"))
  );
  if (isEmpty) await runNft(run, ["-f", "-"], `delete table ${family} ${table}\n`);
}
