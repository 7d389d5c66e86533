/**
 * Who else uses the bit of the packet mark that openme's holes need. openme clears that bit on every packet and lets
 * pass what carries it: another's traffic would lose its mark, or come in. Calico uses the one that is openme's default.
 */

import { OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { formatMark } from "./hole.ts";
import { HOLE_COMMENT } from "../plan.ts";

/** All rules of iptables by the programs that may have loaded them; none of these makes a table that is not there. */
const SAVES = ["iptables-nft-save", "iptables-legacy-save", "iptables-save"].flatMap((program) => [
  { program, family: "ip" },
  { program: program.replace("ip", "ip6"), family: "ip6" },
]);
const EVERY_BIT = 0xffff_ffff;

/** Throws `FIREWALL` with the chain where a rule of somebody else's uses the bit. What cannot be listed is not looked at. */
export async function requireFreeMark(mark: number, run: RunProgram): Promise<void> {
  const list = (program: string, ...args: string[]) =>
    run({ program, args, timeoutMs: 5000 }).catch(() => "");
  const listings = await Promise.all(SAVES.map(async ({ program, family }) => {
    const listing = await list(program);
    return { listing, chain: findInIptables(listing, mark), family };
  }));
  // What iptables-nft has loaded, nft shows without the values.
  const isShown = listings.some(({ listing }) => /\(nf_tables\)/.test(listing));
  const json = await list("nft", "--json", "--terse", "list", "ruleset");
  const chains = [
    findInNft(json, mark, { isShown }),
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
    if (chain === undefined || chain.startsWith("OPENME")) continue;
    if (line.includes(`--comment "${HOLE_COMMENT}"`)) continue;
    if (usesInIptables(line, mark)) return `${table} ${chain}`;
  }
  return undefined;
}

/** The chain, as `FAMILY TABLE CHAIN`, of a rule in what `nft --json list ruleset` prints that uses the bit. */
export function findInNft(
  json: string,
  mark: number,
  { isShown }: { isShown: boolean },
): string | undefined {
  const { nftables = [] } = (json === "" ? {} : JSON.parse(json)) as {
    nftables?: { rule?: Record<string, unknown> }[];
  };
  for (const { rule } of nftables) {
    if (!rule || rule["table"] === "openme" || rule["comment"] === HOLE_COMMENT) continue;
    if (String(rule["chain"]).startsWith("OPENME")) continue;
    const isIptables = rule["family"] !== "inet" &&
      ["raw", "mangle", "nat", "filter", "security"].includes(String(rule["table"]));
    if (isShown && isIptables) continue;
    const expressions = Array.isArray(rule["expr"]) ? rule["expr"] as unknown[] : [];
    if (expressions.some((each) => usesInNft(each, mark))) {
      return `${rule["family"]} ${rule["table"]} ${rule["chain"]}`;
    }
  }
  return undefined;
}

/** A whole mark that is compared or set uses the bits that are 1 in it; one with a mask, the bits of the mask. */
function usesInIptables(line: string, mark: number): boolean {
  const options = line.matchAll(
    / --(?:mark|set-xmark) (0x[0-9a-f]+|\d+)(?:\/(0x[0-9a-f]+|\d+))?/gi,
  );
  return [...options].some(([, value, mask]) => {
    const bits = mask === undefined || Number(mask) === EVERY_BIT ? Number(value) : Number(mask);
    return hasBit(bits, mark);
  });
}

function usesInNft(expression: unknown, mark: number): boolean {
  const { match, mangle } = expression as {
    match?: { left?: unknown; right?: unknown };
    mangle?: { key?: unknown; value?: unknown };
  };
  if (match) {
    if (isMark(match.left)) return looksAt(match.right, mark);
    const masks = operands(match.left, "&");
    return masks.some(isMark) && masks.some((mask) => isNumber(mask) && hasBit(mask, mark));
  }
  return mangle !== undefined && isMark(mangle.key) && changes(mangle.value, mark);
}

/** Whether a new mark, reckoned from the old one or not, has the bit set or cleared on purpose. */
function changes(value: unknown, mark: number): boolean {
  if (isNumber(value)) return hasBit(value, mark);
  const [set, kept] = [[...operands(value, "|"), ...operands(value, "^")], operands(value, "&")];
  return set.some((each) => changes(each, mark)) ||
    (kept.some(isMark) && kept.some((each) => isNumber(each) && !hasBit(each, mark))) ||
    kept.some((each) => !isNumber(each) && !isMark(each) && changes(each, mark));
}

function operands(value: unknown, operator: "&" | "|" | "^"): readonly unknown[] {
  const found = (value as Record<string, unknown> | null)?.[operator];
  return Array.isArray(found) ? found : [];
}

function isMark(value: unknown): boolean {
  return (value as { meta?: { key?: unknown } } | null)?.meta?.key === "mark";
}

function isNumber(value: unknown): value is number {
  return typeof value === "number";
}

/** Whether a value that the whole mark is compared with depends on the bit: as nft prints numbers, masks and sets. */
function looksAt(value: unknown, mark: number): boolean {
  if (isNumber(value)) return hasBit(value, mark);
  const { prefix, range, set } = (value ?? {}) as {
    prefix?: { len: number };
    range?: [first: number, last: number];
    set?: unknown[];
  };
  if (prefix) return mark >= 2 ** (32 - prefix.len);
  if (range) return range.some((end) => hasBit(end, mark)) || range[1] - range[0] >= mark;
  return set?.some((each) => looksAt(each, mark)) ?? false;
}

function hasBit(bits: number, mark: number): boolean {
  return ((bits & mark) >>> 0) !== 0;
}
