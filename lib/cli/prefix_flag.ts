/** `--prefix v4=24,v6=64`: how wide a client's grants are, and what that means with the firewall at hand. */

import { PREFIX_BOUNDS } from "../config/clients.ts";
import type { FirewallName } from "../firewall/plan.ts";
import { type Arguments, type Context, flagError, textFlag } from "./context.ts";

type PrefixFlag = Partial<Record<keyof typeof PREFIX_BOUNDS, number>>;

/** The lengths as they stand in the configuration, `undefined` without the flag. */
export function prefixFlag(args: Arguments): PrefixFlag | undefined {
  const text = textFlag(args, "prefix");
  if (text === undefined) return undefined;
  const lengths: PrefixFlag = {};
  for (const item of text.split(",").map((each) => each.trim())) {
    const [, family, digits] = /^(v4|v6)=([1-9]\d{0,2})$/.exec(item) ?? [];
    const key = family as keyof typeof PREFIX_BOUNDS | undefined;
    const length = Number(digits);
    if (!key || key in lengths || !isWithin(length, PREFIX_BOUNDS[key])) {
      const { v4, v6 } = PREFIX_BOUNDS;
      throw flagError(
        "prefix",
        `lengths in bits such as "v4=24,v6=64"`,
        text,
        `v4 from ${v4.least} to ${v4.most}, v6 from ${v6.least} to ${v6.most}, each once`,
      );
    }
    lengths[key] = length;
  }
  return lengths;
}

/** Says who is let in by a knock of this client. */
export function tellWhoGetsIn(
  name: string,
  { v4, v6 }: PrefixFlag,
  firewall: FirewallName,
  context: Context,
): void {
  if (firewall === "none") return;
  const sizes = [
    ...(v4 === undefined || v4 === PREFIX_BOUNDS.v4.most ? [] : [`/${v4} in IPv4`]),
    ...(v6 === undefined || v6 === PREFIX_BOUNDS.v6.most ? [] : [`/${v6} in IPv6`]),
  ];
  if (sizes.length === 0) return;
  const first = "the first address of it that connects is let in, one more with each knock";
  const all = "every address of it is let in until the grant ends";
  const who = firewall === "nft"
    ? first
    : firewall === "auto"
    ? `where that is nft, ${first}; with any other, ${all}`
    : all;
  context.stderr(
    `openme: a knock by ${name} opens for the whole network around its address (${
      sizes.join(", ")
    }); with firewall: ${firewall}, ${who}`,
  );
}

function isWithin(length: number, { least, most }: { least: number; most: number }): boolean {
  return least <= length && length <= most;
}
