/**
 * The hole: one static rule at the top of a chain of the host that accepts what carries openme's mark. Which chains need
 * one, and the text that puts it there or takes it out, for nft and for iptables. Pure.
 */

import { OpenmeError } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { HOLE_COMMENT } from "../plan.ts";
import { type HostChain, type HostRule, mayDrop } from "./chain.ts";
import { HOST_TABLES, inTable } from "./read_iptables.ts";

/** A bit of the packet mark as firewalls print it: `0x40000000`. */
export function formatMark(mark: number): string {
  return `0x${mark.toString(16)}`;
}

/** Every other bit. */
export function formatUnmark(mark: number): string {
  return formatMark(~mark >>> 0);
}

/** The hole for nft, without its comment. */
export function nftHoleRule(mark: number): string {
  return `meta mark & ${formatMark(mark)} == ${formatMark(mark)} accept`;
}

/** The hole for iptables. */
export function iptablesHoleRule(mark: number): string {
  const bit = `${formatMark(mark)}/${formatMark(mark)}`;
  return `-m mark --mark ${bit} -m comment --comment "${HOLE_COMMENT}" -j ACCEPT`;
}

/** Takes every hole out of a chain and, if there is a `mark`, puts a hole for that bit at its top. */
export interface HoleChange {
  readonly chain: HostChain;
  readonly mark: number | undefined;
}

/** Where holes are wanted, and for which bit. */
export interface WantedHoles {
  readonly mark: number;
  readonly isWanted: (chain: HostChain) => boolean;
}

export const NO_HOLES: WantedHoles = { mark: 0, isWanted: () => false };

/** The changes after which every chain that may drop and where a hole is wanted has one, and no other chain. */
export function holeChanges(
  chains: readonly HostChain[],
  { mark, isWanted }: WantedHoles,
): HoleChange[] {
  return chains.flatMap((chain): HoleChange[] => {
    const wanted = isWanted(chain) && !chain.owned;
    const isStale = chain.rules.some((rule) => rule.isHole && !(wanted && isHoleFor(mark, rule)));
    const isMissing = wanted && mayDrop(chain) && (isStale || lacksHole(chain));
    return isMissing ? [{ chain, mark }] : isStale ? [{ chain, mark: undefined }] : [];
  });
}

/** Whether this is openme's hole for this bit, and not an orphaned one for another bit. */
function isHoleFor(mark: number, { isHole, text, expressions }: HostRule): boolean {
  if (!isHole) return false;
  const match = text?.replace(/--comment "[^"]*"/, "") ?? JSON.stringify(expressions[0] ?? "");
  // Both programs print value and mask, and no other number; what cannot be read counts as right.
  const numbers = match.match(/\b(?:0x[0-9a-f]+|\d+)\b/g) ?? [];
  return numbers.every((each) => Number(each) === mark);
}

/** Whether a rule that may drop stands above the hole, or there is no hole. */
function lacksHole(chain: HostChain): boolean {
  const at = chain.rules.findIndex(({ isHole }) => isHole);
  return at < 0 || mayDrop({ ...chain, dropsByPolicy: false, rules: chain.rules.slice(0, at) });
}

/** The changes as lines for `nft -f`. */
export function renderNftHoles(changes: readonly HoleChange[]): string {
  return changes.flatMap(({ chain, mark }) => [
    ...holesIn(chain).map(({ handle }) => `delete rule ${nftNameOf(chain)} handle ${handle}\n`),
    ...mark === undefined ? [] : [
      `insert rule ${nftNameOf(chain)} ${nftHoleRule(mark)} comment "${HOLE_COMMENT}"\n`,
    ],
  ]).join("");
}

/** The changes, all of one family, as text for `iptables-restore --noflush`, table by table. */
export function renderIptablesHoles(changes: readonly HoleChange[]): string {
  return HOST_TABLES.map((table) => {
    const lines = changes.filter(({ chain }) => chain.table === table).flatMap(
      ({ chain, mark }) => [
        // As the rule stands there, whichever bit it is for.
        ...holesIn(chain).map(({ text }) => text!.replace(/^-A \S+/, `-D ${chain.name}`)),
        ...mark === undefined ? [] : [`-I ${chain.name} 1 ${iptablesHoleRule(mark)}`],
      ],
    );
    return lines.length === 0 ? "" : inTable(table, lines);
  }).join("");
}

function holesIn({ rules }: HostChain): readonly HostRule[] {
  return rules.filter(({ isHole }) => isHole);
}

function nftNameOf({ family, table, name }: HostChain): string {
  if ([table, name].every((part) => /^[A-Za-z_][\w./-]*$/.test(part))) {
    return `${family} ${table} ${name}`;
  }
  throw new OpenmeError(
    "FIREWALL",
    `cannot put a rule into the host's chain ${quote(name)} of table ${quote(table)}`,
    { hint: "its name has characters that openme does not write into a rule: rename it" },
  );
}
