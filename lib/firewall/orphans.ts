/**
 * Finds openme's guards in the firewalls of Linux, and removes orphaned ones: a guard that a dead process left in another
 * firewall than the one in use would keep its ports closed to the clients that are let in now.
 */

import type { RunProgram } from "../system/run_program.ts";
import type { HostChain } from "./host/chain.ts";
import { familyName } from "./host/families.ts";
import { IptablesProgram } from "./host/iptables.ts";
import { deleteEmptyTable } from "./host/nft.ts";
import { parseEntries, runNft } from "./host/nft_listing.ts";
import { parseOwnChains } from "./iptables/own_chains.ts";
import { renderRemoval } from "./iptables/rules.ts";
import { parseOwner, renderRemoval as renderTableRemoval } from "./nft/rules.ts";
import { isAnotherLiving, type ProcessName, requireNoLivingOwner } from "./owner.ts";
import { HOLE_COMMENT, TABLE } from "./plan.ts";

/** The firewalls of Linux that a guard may stand in. */
export type Firewall = "nft" | "iptables-nft" | "iptables-legacy";
const FIREWALLS: readonly Firewall[] = ["nft", "iptables-nft", "iptables-legacy"];

/** Takes one guard out. */
type Removal = () => Promise<void>;

/** A guard in one firewall; with iptables, in one family. */
interface Found {
  readonly firewall: Firewall;
  readonly owner: ProcessName | undefined;
  readonly remove: Removal;
}

/** A guard of openme's on this host, also of another process. */
export interface StandingGuard {
  readonly firewall: Firewall;
  /** The process that installed it, if it lives and is not this one. */
  readonly livingPid: number | undefined;
}

/** Every guard that stands in a firewall of Linux. Changes nothing. */
export async function standingGuards(run: RunProgram): Promise<StandingGuard[]> {
  const guards = new Map<Firewall, StandingGuard>();
  for (const { firewall, owner } of await findGuards(FIREWALLS, run)) {
    const livingPid = await isAnotherLiving(owner, run) ? owner?.pid : undefined;
    if (guards.get(firewall)?.livingPid === undefined) {
      guards.set(firewall, { firewall, livingPid });
    }
  }
  return [...guards.values()];
}

/**
 * Finds the orphaned guards in the firewalls other than `own`. Throws where the process of one lives. Gives what takes
 * them out: to be called once the new guard stands, so that nothing is open in between.
 */
export async function findOrphans(own: Firewall, run: RunProgram): Promise<Removal> {
  const found = await findGuards(FIREWALLS.filter((each) => each !== own), run);
  for (const { owner } of found) await requireNoLivingOwner(owner, run);
  return async () => {
    for (const { remove } of found) await remove();
  };
}

/** In which firewall the guard of the backend `nft` or of an iptables program stands. */
export async function firewallOf(program: string, run: RunProgram): Promise<Firewall> {
  if (program === "nft") return "nft";
  return (await IptablesProgram.find(program, { run })).isLegacy
    ? "iptables-legacy"
    : "iptables-nft";
}

async function findGuards(firewalls: readonly Firewall[], run: RunProgram): Promise<Found[]> {
  const found: Found[] = [];
  for (const each of firewalls) {
    found.push(...(each === "nft" ? await inNft(run) : await inIptables(each, run)));
  }
  return found;
}

/** The table alone: holes in nft's chains become those of the new backend. */
async function inNft(run: RunProgram): Promise<Found[]> {
  const args = ["--stateless", "--terse", "list", "table", ...TABLE.split(" ")];
  const listing = await runNft(run, args).catch(() => "");
  if (listing === "") return [];
  const remove = async () => void await runNft(run, ["-f", "-"], renderTableRemoval());
  return [{ firewall: "nft", owner: parseOwner(listing), remove }];
}

async function inIptables(kind: Exclude<Firewall, "nft">, run: RunProgram): Promise<Found[]> {
  const program = await programOf(kind, run);
  if (!program) return [];
  const found: Found[] = [];
  for (const family of [4, 6] as const) {
    const own = parseOwnChains(await program.list(family, "mangle").catch(() => ""));
    if (own.chains.length === 0) continue;
    const name = familyName(family);
    const remove = async () => {
      await program.restore(family, renderRemoval(own));
      // Holes in the old tables look the same for every backend: they are the new guard's now.
      if (program.isLegacy) return;
      const { chains } = await program.look();
      await removeHoles(chains.filter((chain) => chain.family === name), run);
      if (own.madeTable) await deleteEmptyTable(name, "mangle", run);
    };
    found.push({ firewall: kind, owner: own.owner, remove });
  }
  return found;
}

/** The program of that kind; on some systems it has no name but `iptables`. */
async function programOf(
  kind: Exclude<Firewall, "nft">,
  run: RunProgram,
): Promise<IptablesProgram | undefined> {
  for (const name of [kind, "iptables"]) {
    const program = await IptablesProgram.find(name, { run }).catch(() => undefined);
    if (program) return program.isLegacy === (kind === "iptables-legacy") ? program : undefined;
  }
  return undefined;
}

/**
 * iptables-nft shows a hole that nft made as its own, and nft shows no comment of one that iptables made: only both
 * listings together tell which of them the dead process put there.
 */
async function removeHoles(chains: readonly HostChain[], run: RunProgram): Promise<void> {
  const lines: string[] = [];
  for (const { family, table, name, rules } of chains) {
    const holes = rules.filter(({ isHole }) => isHole);
    if (holes.length === 0) continue;
    const listing = await runNft(run, ["--json", "list", "chain", family, table, name]);
    const same = (parseEntries(listing) ?? []).flatMap(({ rule }) => rule ? [rule] : []);
    for (const { handle } of holes) {
      const rule = same[handle - 1];
      if (!rule || rule["comment"] === HOLE_COMMENT) continue;
      if (!/"xt": ?\{[^}]*"comment"/.test(JSON.stringify(rule["expr"]))) continue;
      lines.push(`delete rule ${family} ${table} ${name} handle ${Number(rule["handle"])}\n`);
    }
  }
  if (lines.length > 0) await runNft(run, ["-f", "-"], lines.join(""));
}
