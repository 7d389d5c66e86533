/**
 * What an openme that drove another firewall left on this host: its guard would go on closing ports to everyone, behind
 * the back of the one that lets clients in now.
 */

import type { RunProgram } from "../system/run_program.ts";
import { legacyTables } from "./host/iptables.ts";
import { deleteEmptyTable } from "./host/nft.ts";
import { parseEntries } from "./host/nft_listing.ts";
import { HOST_TABLES, type HostTable, parseHostTable } from "./host/read_iptables.ts";
import { type OwnChains, parseOwnChains, renderRemoval } from "./iptables/rules.ts";
import { HOLE_COMMENT, TABLE } from "./plan.ts";
import { parseOwner, renderRemoval as renderTableRemoval } from "./nft/rules.ts";
import { isAnotherLiving, type ProcessName, requireNoLivingOwner } from "./owner.ts";

/** The firewalls of Linux that a guard may stand in. */
export type Firewall = "nft" | "iptables-nft" | "iptables-legacy";
const FIREWALLS: readonly Firewall[] = ["nft", "iptables-nft", "iptables-legacy"];

const DEADLINE_MS = 5000;
const LOCK_WAIT = ["-w", "4"];

/** Takes out what is left of one guard. */
type Removal = () => Promise<void>;

/** What stands of a guard in one firewall, with iptables in one family. */
interface Found {
  readonly firewall: Firewall;
  readonly owner: ProcessName | undefined;
  readonly remove: Removal;
}

/** A guard of openme's that stands on this host, whoever put it there. */
export interface StandingGuard {
  readonly firewall: Firewall;
  /** The process, other than this one, that put it there and lives. */
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
 * Finds what dead processes left in the firewalls other than `own`. Throws where one of them lives. Gives what takes
 * it out: to be called once the new guard stands, so that nothing is open in between.
 */
export async function findLeftOvers(own: Firewall, run: RunProgram): Promise<Removal> {
  const found = await findGuards(FIREWALLS.filter((each) => each !== own), run);
  for (const { owner } of found) await requireNoLivingOwner(owner, run);
  return async () => {
    for (const { remove } of found) await remove();
  };
}

async function findGuards(firewalls: readonly Firewall[], run: RunProgram): Promise<Found[]> {
  const found: Found[] = [];
  for (const each of firewalls) {
    found.push(...(each === "nft" ? await inNft(run) : await inIptables(each, run)));
  }
  return found;
}

/** The table alone: each backend takes the holes in nft's chains that it finds for its own. */
async function inNft(run: RunProgram): Promise<Found[]> {
  const args = ["--stateless", "--terse", "list", "table", ...TABLE.split(" ")];
  const listing = await run({ program: "nft", args, timeoutMs: DEADLINE_MS }).catch(() => "");
  if (listing === "") return [];
  const remove = () => giveNft(renderTableRemoval(), run);
  return [{ firewall: "nft", owner: parseOwner(listing), remove }];
}

async function inIptables(
  kind: Exclude<Firewall, "nft">,
  run: RunProgram,
): Promise<Found[]> {
  const program = await programOf(kind, run);
  if (program === undefined) return [];
  const found: Found[] = [];
  for (const family of ["ip", "ip6"] as const) {
    const name = family === "ip" ? program : program.replace("iptables", "ip6tables");
    // To list a table of the old kind is to make it.
    if (
      kind === "iptables-legacy" &&
      !(await legacyTables(family === "ip" ? 4 : 6, run)).includes("mangle")
    ) continue;
    const list = (table: string) =>
      run({ program: name, args: [...LOCK_WAIT, "-t", table, "-S"], timeoutMs: DEADLINE_MS });
    const chains = parseOwnChains(await list("mangle").catch(() => ""));
    if (chains.chains.length === 0) continue;
    const remove = async () => {
      await removeChains(`${name}-restore`, chains, run);
      // Those in the old tables are no different from those that other backends put there, and theirs from now on.
      if (kind === "iptables-legacy") return;
      for (const table of HOST_TABLES) await removeHoles({ family, table }, await list(table), run);
      if (!chains.madeTable) return;
      await deleteEmptyTable(family, "mangle", run);
    };
    found.push({ firewall: kind, owner: chains.owner, remove });
  }
  return found;
}

/** In which firewall the guard of the backend `nft` or of an iptables program stands. */
export async function firewallOf(program: string, run: RunProgram): Promise<Firewall> {
  if (program === "nft") return "nft";
  const version = await run({ program, args: ["--version"], timeoutMs: DEADLINE_MS });
  return /nf_tables/.test(version) ? "iptables-nft" : "iptables-legacy";
}

/** The program of that kind; on some systems it has no name but `iptables`. */
async function programOf(
  kind: Exclude<Firewall, "nft">,
  run: RunProgram,
): Promise<string | undefined> {
  for (const program of [kind, "iptables"]) {
    const version = await run({ program, args: ["--version"], timeoutMs: DEADLINE_MS })
      .catch(() => "");
    if (version === "") continue;
    return /nf_tables/.test(version) === (kind === "iptables-nft") ? program : undefined;
  }
  return undefined;
}

async function removeChains(program: string, chains: OwnChains, run: RunProgram): Promise<void> {
  const args = ["--noflush", ...LOCK_WAIT];
  await run({ program, args, stdin: renderRemoval(chains), timeoutMs: DEADLINE_MS });
}

/**
 * iptables-nft takes a hole that nft made for its own, and nft shows nothing of the words in one that iptables made: only
 * both listings together tell which of them the dead process put there.
 */
async function removeHoles(
  { family, table }: { family: "ip" | "ip6"; table: HostTable },
  listing: string,
  run: RunProgram,
): Promise<void> {
  const lines: string[] = [];
  for (const { name, rules } of parseHostTable("iptables-nft", { family, table }, listing)) {
    const holes = rules.filter(({ isHole }) => isHole);
    if (holes.length === 0) continue;
    const args = ["--json", "list", "chain", family, table, name];
    const entries = parseEntries(await run({ program: "nft", args, timeoutMs: DEADLINE_MS })) ?? [];
    const same = entries.flatMap(({ rule }) => rule === undefined ? [] : [rule]);
    for (const { handle } of holes) {
      const rule = same[handle - 1];
      if (!rule || rule["comment"] === HOLE_COMMENT) continue;
      if (!/"xt": ?\{[^}]*"comment"/.test(JSON.stringify(rule["expr"]))) continue;
      lines.push(`delete rule ${family} ${table} ${name} handle ${Number(rule["handle"])}\n`);
    }
  }
  if (lines.length > 0) await giveNft(lines.join(""), run);
}

async function giveNft(stdin: string, run: RunProgram): Promise<void> {
  await run({ program: "nft", args: ["-f", "-"], stdin, timeoutMs: DEADLINE_MS });
}
