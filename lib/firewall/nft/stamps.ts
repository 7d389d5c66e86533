/**
 * How the knock chain tells knocks of openme's own clients from all other datagrams, as rule text: pure. It compares the
 * four bytes where they bear their stamp with a set that openme keeps current. docs/firewalls.md says what each is worth.
 */

import { OFFSET_AEAD_NONCE } from "../../packet.ts";
import type { KnockStamp } from "../backend.ts";
import { type GuardPlan, TABLE, UNSTAMPED_PER_SECOND } from "../plan.ts";
import { renderSetElements } from "./sets.ts";

/** The stamp in a UDP datagram, in bits: behind the header of 8 bytes. */
const STAMP = `@th,${8 * (8 + OFFSET_AEAD_NONCE)},32`;

/** Beyond the rate of a tenth of a second. */
const BURST = UNSTAMPED_PER_SECOND / 10;

/** A set with these stamps; nft before 1.0.6 knows none of this type. */
export function renderStampSet(stamps: readonly KnockStamp[]): string {
  const elements = stamps.map(({ word, timeoutMs }) =>
    `0x${word.toString(16)} timeout ${timeoutMs}ms`
  );
  return `set stamps { typeof ${STAMP}; flags timeout;${renderSetElements(elements)} }`;
}

/** One transaction that puts these stamps in place of all others. */
export function renderStamps(stamps: readonly KnockStamp[]): string {
  return `flush set ${TABLE} stamps\n` +
    (stamps.length > 0 ? `table ${TABLE} { ${renderStampSet(stamps)}; }\n` : "");
}

/** The rule for datagrams without a stamp: before the meter of the sources if all are dropped, else behind it. */
export function renderUnstamped({ onlyStampedKnocks }: Pick<GuardPlan, "onlyStampedKnocks">): {
  readonly before: readonly string[];
  readonly behind: readonly string[];
} {
  if (onlyStampedKnocks) return { before: [`${STAMP} != @stamps counter drop`], behind: [] };
  const limit = `limit rate over ${UNSTAMPED_PER_SECOND}/second burst ${BURST} packets`;
  return { before: [], behind: [`${STAMP} != @stamps ${limit} counter drop`] };
}

/** What nft is asked to look at, and not to run: whether it knows such a set. */
export const STAMP_PROBE = ["--check", `table ${TABLE}_stamps { ${renderStampSet([])}; }`];
