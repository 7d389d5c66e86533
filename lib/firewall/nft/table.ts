/** openme's own table in nftables: runs transactions, and reads what stands there. */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import type { AddressOpenings } from "../../grants.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { BackendParts, KnockStamp, QuickSets, Standing } from "../backend.ts";
import type { Deviations } from "../deviations.ts";
import type { CheckedRules } from "../host/generation.ts";
import { runNft } from "../host/nft_listing.ts";
import type { ProcessName } from "../owner.ts";
import { type GuardPlan, TABLE } from "../plan.ts";
import { EXAMINED_CHAINS, examineTable } from "./examine.ts";
import type { SetsChange } from "./openings.ts";
import { parseGranted, parseKnockCounters, parseOwner } from "./rules.ts";
import { elementsBySet, parseOpeningSets, renderContents } from "./sets.ts";
import { renderStamps, STAMP_PROBE } from "./stamps.ts";

type TableParts = Pick<BackendParts, "quickSets" | "stamps">;

/** The table of one network namespace. */
export class OwnTable {
  readonly #run: RunProgram;
  readonly #quickSets: QuickSets | undefined;
  readonly #checked: CheckedRules;
  readonly #stamps: () => readonly KnockStamp[];
  /** Asked once. */
  #stampFlaw: Promise<string | undefined> | undefined;

  /** `checked` learns of every transaction; `stamps` gives those of now. */
  constructor(run: RunProgram, checked: CheckedRules, parts: TableParts) {
    this.#run = run;
    this.#quickSets = parts.quickSets;
    this.#checked = checked;
    this.#stamps = parts.stamps ?? (() => []);
  }

  /** Changes sets, or gives them all that is `live`: without a program where that is possible. */
  writeOpenings({ sets, change }: SetsChange, live: () => AddressOpenings[]): Promise<void> {
    return this.#checked.ownChange(async () => {
      if (change && await this.#quickSets?.changeOpenings(change)) return;
      const openings = live();
      if (await this.#quickSets?.replaceOpenings(sets, openings)) return;
      await this.#load(renderContents(sets, elementsBySet(openings)));
    });
  }

  transact(text: string): Promise<void> {
    return this.#checked.ownChange(() => this.#load(text));
  }

  async #load(text: string): Promise<void> {
    await runNft(this.#run, ["-f", "-"], text);
  }

  /** Everything that must not change behind openme's back: rules and guarded ports; not counters, not grants. */
  async read(): Promise<string | undefined> {
    const parts = await Promise.all([
      this.#listRules(),
      this.#list("set", [], "guarded"),
      this.#list("set", [], "forwarded"),
    ]);
    return parts.includes(undefined) ? undefined : parts.join("");
  }

  /** What `nft --json list set` prints; `undefined` where there is none. */
  listSet(set: string): Promise<string | undefined> {
    return this.#list("set", ["--json"], set);
  }

  /** The stamps of now; `undefined` where this nft knows none. */
  async stamps(): Promise<readonly KnockStamp[] | undefined> {
    return await this.stampFlaw() === undefined ? this.#stamps() : undefined;
  }

  /** Puts the stamps of now in place of those that stand. */
  async restamp(): Promise<void> {
    const stamps = await this.stamps();
    if (!stamps) return;
    await this.#checked.ownChange(async () => {
      if (!await this.#quickSets?.replaceStamps(stamps)) await this.#load(renderStamps(stamps));
    });
  }

  /** Why this nft knows no stamps; `undefined` where it does. */
  stampFlaw(): Promise<string | undefined> {
    return this.#stampFlaw ??= runNft(this.#run, STAMP_PROBE).then(
      () => undefined,
      (error) => `nft before 1.0.6 has no set for them: ${messageOf(error)}`,
    );
  }

  async owner(): Promise<ProcessName | undefined> {
    return parseOwner(await this.#listRules() ?? "");
  }

  async drops(): Promise<Record<string, number>> {
    return parseKnockCounters(
      await runNft(this.#run, ["list", "chain", ...TABLE.split(" "), "knock"]),
    );
  }

  async examine(plan: GuardPlan): Promise<Deviations> {
    const [text, guarded, forwarded, ...listed] = await Promise.all([
      this.#listRules(),
      this.listSet("guarded"),
      this.listSet("forwarded"),
      // Not the table: nft_listing.ts says why.
      ...EXAMINED_CHAINS.map((chain) => this.#list("chain", ["--json", "--terse"], chain)),
    ]);
    if (text && guarded && forwarded) {
      const chains = listed.filter((each) => each !== undefined);
      return examineTable(plan, { text, chains, guarded, forwarded });
    }
    const wrong = [`the table ${TABLE} is not there, or not whole`];
    return { wrong, unguarded: plan.guardedPorts };
  }

  /** What is open; `undefined` where there is no table. */
  async standing(): Promise<Standing[] | undefined> {
    const rules = await this.#listRules();
    if (rules === undefined) return undefined;
    const standing: Standing[] = [];
    for (const { set, length } of parseOpeningSets(rules)) {
      const listing = await this.listSet(set);
      if (listing === undefined) return undefined; // gone meanwhile
      standing.push(...parseGranted(listing, length));
    }
    return standing;
  }

  #listRules(): Promise<string | undefined> {
    return this.#list("table", ["--stateless", "--terse"]);
  }

  async #list(
    what: "table" | "set" | "chain",
    options: readonly string[],
    ...set: readonly string[]
  ): Promise<string | undefined> {
    try {
      return await runNft(this.#run, [...options, "list", what, ...TABLE.split(" "), ...set]);
    } catch (error) {
      if (error instanceof OpenmeError && error.message.includes("No such file or directory")) {
        return undefined;
      }
      throw error;
    }
  }
}
