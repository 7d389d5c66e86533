/**
 * The bit of the packet mark by which let-in traffic passes the host's own chains, as each firewall writes the one static
 * rule that looks at it. Pure.
 */

import { HOLE_COMMENT } from "../plan.ts";
import type { HostRule } from "./chain.ts";

/** As firewalls print it: `0x40000000`. */
export function formatMark(mark: number): string {
  return `0x${mark.toString(16)}`;
}

/** Every other bit. */
export function formatUnmark(mark: number): string {
  return formatMark(~mark >>> 0);
}

/** The rule at the top of a host's chain, for nft, without its comment. */
export function nftHoleRule(mark: number): string {
  return `meta mark & ${formatMark(mark)} == ${formatMark(mark)} accept`;
}

/** The same for iptables. */
export function iptablesHoleRule(mark: number): string {
  const bit = `${formatMark(mark)}/${formatMark(mark)}`;
  return `-m mark --mark ${bit} -m comment --comment "${HOLE_COMMENT}" -j ACCEPT`;
}

/** Whether this is openme's hole for this bit, and not one that an openme with another bit has left. */
export function isHoleFor(mark: number, { isHole, text, expressions }: HostRule): boolean {
  if (!isHole) return false;
  const match = text?.replace(/--comment "[^"]*"/, "") ?? JSON.stringify(expressions[0] ?? "");
  // Both programs print value and mask, and no other number; what cannot be read is taken for right.
  const numbers = match.match(/\b(?:0x[0-9a-f]+|\d+)\b/g) ?? [];
  return numbers.every((each) => Number(each) === mark);
}
