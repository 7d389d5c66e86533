/**
 * Lists the host's ruleset with `nft`. `nft --json` alone is not enough: in place of a table's flags, 1.0.6 prints bytes
 * of its memory, and where those are no text the output ends there.
 */

import { OpenmeError } from "../../values/errors.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { type FirewallRun, runFirewall } from "../run.ts";

/** A batch of a thousand elements takes 15 ms; what takes this long hangs. */
const DEADLINE_MS = 5000;
/** For the whole ruleset: 50,000 rules take 2 s on an idle machine. */
const LISTING_DEADLINE_MS = 10_000;
/** A slice of this size is parsed in 3 ms. */
const SLICE_CHARACTERS = 256 * 1024;
const BETWEEN = ', {"rule": {';

/** Gives what `nft` prints with these arguments; throws `OpenmeError`, code `FIREWALL`. */
export function runNft(run: RunProgram, args: readonly string[], stdin?: string): Promise<string> {
  return runFirewall(run, nftRun(args, stdin));
}

export function nftRun(args: readonly string[], stdin?: string): FirewallRun {
  return {
    program: "nft",
    args,
    stdin,
    timeoutMs: args.includes("ruleset") ? LISTING_DEADLINE_MS : DEADLINE_MS,
    missingHint:
      "install nftables: apt-get install nftables (or apk add, dnf install, opkg install)",
    failingHint: "see whether nft works here by itself, as the same user: nft list ruleset",
  };
}

/** Every chain and rule, and which tables take no rule from others. */
export interface NftListing {
  /** Those of `nft --json --terse list ruleset`; without tables where that was cut short. */
  readonly entries: readonly Entry[];
  /** Tables with `flags owner`, as `FAMILY NAME`. */
  readonly owned: ReadonlySet<string>;
}

/** One object of a listing. */
export type Entry = Partial<
  Record<"table" | "chain" | "rule" | "set" | "map", Record<string, unknown>>
>;

/** Reads the whole ruleset. Throws `OpenmeError`, code `FIREWALL`. */
export async function listRuleset(run: RunProgram): Promise<NftListing> {
  const json = await runNft(run, ["--json", "--terse", "list", "ruleset"]);
  const entries = await parseInSlices(json);
  if (entries && !entries.some(({ table }) => table?.["flags"] !== undefined)) {
    return { entries, owned: new Set() };
  }
  const owned = parseOwnedTables(await runNft(run, ["--terse", "list", "ruleset"]));
  const all = entries ?? await listChainByChain(run);
  return { entries: owned.size === 0 ? all : await withSets(all, owned, run), owned };
}

/**
 * {@linkcode parseEntries} in steps of a few milliseconds, between which knocks are received: 50,000 rules are 15 MB.
 */
async function parseInSlices(json: string): Promise<Entry[] | undefined> {
  const start = json.indexOf("[") + 1;
  if (json.length < SLICE_CHARACTERS || start === 0) return parseEntries(json);
  const entries: Entry[] = [];
  for (let from = start; from < json.length;) {
    // Quotes within a string are escaped, so this text stands only between two entries.
    const next = json.indexOf(BETWEEN, from + SLICE_CHARACTERS);
    const end = next < 0 ? json.lastIndexOf("]") : next;
    const slice = parseEntries(`{"nftables": [${json.slice(from, end)}]}`);
    if (!slice) return undefined;
    for (const entry of slice) entries.push(entry);
    if (next < 0) break;
    from = next + 1;
    await new Promise((resolve) => setTimeout(resolve));
  }
  return entries;
}

/** The entries of a listing; `undefined` if the text is no listing. */
export function parseEntries(json: string): Entry[] | undefined {
  try {
    const { nftables } = JSON.parse(json) as { nftables?: unknown };
    return Array.isArray(nftables) ? nftables : undefined;
  } catch {
    return undefined;
  }
}

/** The entries of a listing; throws `FIREWALL` if the text is no listing. */
export function requireEntries(json: string): Entry[] {
  const entries = parseEntries(json);
  if (entries) return entries;
  throw new OpenmeError("FIREWALL", "cannot read what nft lists of this host's rules", {
    hint: `see what "nft --json --terse list ruleset" prints; openme needs nftables 1.0 or newer`,
  });
}

/** The elements in what `nft --json list set` or `list map` prints, without their timeouts. */
export function elementsIn(json: string): unknown[] {
  return requireEntries(json).flatMap(({ set, map }) => {
    const elements = (set ?? map)?.["elem"];
    return Array.isArray(elements) ? elements.map(bareValue) : [];
  });
}

/** The value of an element, which stands alone or beside a timeout and the like. */
export function bareValue(element: unknown): unknown {
  return (element as { elem?: { val?: unknown } } | null)?.elem?.val ?? element;
}

/** The protocol of ports: a number where the host has no /etc/protocols, as in small containers. */
export function portProtocol(value: unknown): "tcp" | "udp" | undefined {
  if (value === "tcp" || value === 6) return "tcp";
  return value === "udp" || value === 17 ? "udp" : undefined;
}

/** The tables that plain `nft list ruleset` shows with `flags owner`. */
export function parseOwnedTables(text: string): Set<string> {
  const owned = new Set<string>();
  let table: string | undefined;
  for (const line of text.split("\n")) {
    const start = /^table (\w+) (\S+) \{/.exec(line);
    if (start) table = `${start[1]} ${start[2]}`;
    // Flags of sets are indented further.
    const flags = /^\tflags ([\w, ]+)/.exec(line);
    if (table !== undefined && flags && /\bowner\b/.test(flags[1]!)) owned.add(table);
  }
  return owned;
}

/** Listings of single chains contain no table, and so are never cut short. */
async function listChainByChain(run: RunProgram): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const { chain } of requireEntries(await runNft(run, ["--json", "list", "chains"]))) {
    if (!chain) continue;
    const { family, table, name } = chain as Record<string, string>;
    // No other family filters packets to this host.
    if (!["inet", "ip", "ip6"].includes(family!)) continue;
    const args = ["--json", "--terse", "list", "chain", family!, table!, name!];
    const listing = await runNft(run, args);
    entries.push(...requireEntries(listing));
  }
  return entries;
}

/** Writes out the sets that rules of owned tables name: into those no hole can be put, so their rules are followed. */
async function withSets(
  entries: readonly Entry[],
  owned: ReadonlySet<string>,
  run: RunProgram,
): Promise<Entry[]> {
  const known = new Map<string, unknown>();
  const elementsOf = async (kind: "set" | "map", place: string, name: string) => {
    const key = `${kind} ${place} ${name}`;
    if (!known.has(key)) {
      const listing = await runNft(run, ["--json", "list", kind, ...place.split(" "), name])
        .catch(() => "");
      known.set(key, parseEntries(listing)?.find((entry) => entry[kind])?.[kind]?.["elem"]);
    }
    return known.get(key);
  };
  const resolve = async (place: string, expression: unknown): Promise<unknown> => {
    const { match, vmap } = expression as {
      match?: { right?: unknown };
      vmap?: { data?: unknown };
    };
    const name = nameIn(match?.right ?? vmap?.data);
    if (name === undefined) return expression;
    const set = await elementsOf(vmap ? "map" : "set", place, name);
    if (!Array.isArray(set)) return expression;
    return vmap ? { vmap: { ...vmap, data: { set } } } : { match: { ...match, right: { set } } };
  };
  return await Promise.all(entries.map(async (entry) => {
    const { rule } = entry;
    const place = `${rule?.["family"]} ${rule?.["table"]}`;
    if (!rule || !owned.has(place) || !Array.isArray(rule["expr"])) return entry;
    const expr = await Promise.all(rule["expr"].map((each) => resolve(place, each)));
    return { rule: { ...rule, expr } };
  }));
}

function nameIn(value: unknown): string | undefined {
  return typeof value === "string" && value.startsWith("@") ? value.slice(1) : undefined;
}
