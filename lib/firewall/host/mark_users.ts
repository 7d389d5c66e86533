/**
 * Which rules of the host use the bit of the packet mark that openme's holes need. openme clears that bit on every packet
 * and lets in packets that carry it: traffic of the other user would lose its mark, or come in. Calico uses the bit that
 * is openme's default.
 */

import { OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { CHAIN, HOLE_COMMENT } from "../plan.ts";
import { formatMark } from "./hole.ts";
import { type Entry, listRuleset } from "./nft_listing.ts";
import { isTableOfIptables } from "./read_iptables.ts";

/** All rules of iptables by the programs that may have loaded them; none of these makes a table that is not there. */
const SAVES = ["iptables-nft-save", "iptables-legacy-save", "iptables-save"].flatMap((program) => [
  { program, family: "ip" },
  { program: program.replace("ip", "ip6"), family: "ip6" },
]);
const EVERY_BIT = 0xffff_ffff;

/** Throws `FIREWALL` with the chain where a rule of the host uses the bit. Leaves out what cannot be listed. */
export async function requireFreeMark(mark: number, run: RunProgram): Promise<void> {
  const list = (program: string, ...args: string[]) =>
    run({ program, args, timeoutMs: 5000 }).catch(() => "");
  const listings = await Promise.all(SAVES.map(async ({ program, family }) => {
    const listing = await list(program);
    return { listing, chain: findInIptables(listing, mark), family };
  }));
  // nft lists rules of iptables-nft without their values; iptables-save shows those.
  const isShown = listings.some(({ listing }) => /\(nf_tables\)/.test(listing));
  const ruleset = await listRuleset(run).catch(() => undefined);
  const chains = [
    findInNft(ruleset?.entries ?? [], mark, { isShown }),
    ...listings.map(({ chain, family }) => chain && `${family} ${chain}`),
  ];
  const user = chains.find((each) => each !== undefined);
  if (user === undefined) return;
  throw new OpenmeError(
    "FIREWALL",
    `the host's chain ${escapeUnprintable(user)} uses the bit ${formatMark(mark)} of the packet ` +
      "mark, by which openme's own rule lets in what was knocked for",
    {
      hint:
        `give openme a bit that nothing else here uses: server.mark: "0x20000000" (docs/firewalls.md, The hole)`,
    },
  );
}

/** The chain, as `TABLE CHAIN`, of a rule in what `iptables-save` prints that uses the bit. */
export function findInIptables(listing: string, mark: number): string | undefined {
  let table = "";
  for (const line of listing.split("\n")) {
    table = /^\*(\w+)/.exec(line)?.[1] ?? table;
    const chain = /^(?:\[\d+:\d+\] )?-A (\S+) /.exec(line)?.[1];
    if (chain === undefined || chain.startsWith(CHAIN)) continue;
    if (line.includes(`--comment "${HOLE_COMMENT}"`)) continue;
    if (bitsInIptables(line) & mark) return `${table} ${chain}`;
  }
  return undefined;
}

/**
 * The chain, as `FAMILY TABLE CHAIN`, of a rule in a listing of nft that uses the bit. With `isShown`, that is where
 * iptables-save lists them with their values, the rules of iptables-nft are left out.
 */
export function findInNft(
  entries: readonly Entry[],
  mark: number,
  { isShown }: { isShown: boolean },
): string | undefined {
  for (const { rule } of entries) {
    const { family, table, chain, comment, expr } = rule ?? {};
    if (!rule || table === "openme" || comment === HOLE_COMMENT) continue;
    if (String(chain).startsWith(CHAIN)) continue;
    if (isShown && isTableOfIptables(family, table)) continue;
    const expressions: unknown[] = Array.isArray(expr) ? expr : [];
    if (expressions.some((each) => bitsInNft(each) & mark)) return `${family} ${table} ${chain}`;
  }
  return undefined;
}

/** The bits that a rule of iptables uses: of a whole mark those that are 1 in it, else those of the mask. */
function bitsInIptables(line: string): number {
  const options = line.matchAll(
    / --(?:mark|set-xmark) (0x[0-9a-f]+|\d+)(?:\/(0x[0-9a-f]+|\d+))?/gi,
  );
  return [...options].map(([, value, mask]) =>
    Number(mask === undefined || Number(mask) === EVERY_BIT ? value : mask)
  ).reduce(or, 0);
}

/** The bits of the packet mark that an expression of nft compares or changes. */
function bitsInNft(expression: unknown): number {
  const { match, mangle } = expression as {
    match?: { left?: unknown; right?: unknown };
    mangle?: { key?: unknown; value?: unknown };
  };
  if (isMark(mangle?.key)) return bitsChanged(mangle?.value);
  if (isMark(match?.left)) return bitsCompared(match?.right);
  const masked = operandsOf(match?.left, "&");
  return masked.some(isMark) ? masked.filter(isNumber).reduce(or, 0) : 0;
}

/** The bits that a new mark sets, or clears in the old one. A mark that is carried over whole changes none. */
function bitsChanged(value: unknown): number {
  if (isNumber(value)) return value;
  const kept = operandsOf(value, "&");
  const cleared = kept.some(isMark) ? kept.filter(isNumber).map((mask) => ~mask) : [];
  const others = [
    ...operandsOf(value, "|"),
    ...operandsOf(value, "^"),
    ...kept.filter((each) => !isNumber(each)),
  ];
  return [...cleared, ...others.map(bitsChanged)].reduce(or, 0);
}

/** The bits on which a comparison of the whole mark depends: with numbers, networks, ranges or sets of them. */
function bitsCompared(value: unknown): number {
  if (isNumber(value)) return value;
  const { prefix, range, set = [] } = (value ?? {}) as {
    prefix?: { len: number };
    range?: [first: number, last: number];
    set?: unknown[];
  };
  if (prefix) return -(2 ** (32 - prefix.len));
  if (range) return range[0] | range[1] | bitsUpTo(range[1] - range[0]);
  return set.map(bitsCompared).reduce(or, 0);
}

/** All bits up to the highest that is 1 in a number. */
function bitsUpTo(number: number): number {
  return number === 0 ? 0 : 2 ** (32 - Math.clz32(number)) - 1;
}

function or(a: number, b: number): number {
  return a | b;
}

function operandsOf(value: unknown, operator: "&" | "|" | "^"): readonly unknown[] {
  const found = (value as Record<string, unknown> | null | undefined)?.[operator];
  return Array.isArray(found) ? found : [];
}

function isMark(value: unknown): boolean {
  return (value as { meta?: { key?: unknown } } | null | undefined)?.meta?.key === "mark";
}

function isNumber(value: unknown): value is number {
  return typeof value === "number";
}
