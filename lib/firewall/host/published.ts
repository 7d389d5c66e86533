/** The ports that the host's nftables rules send elsewhere, as for containers. */

import type { PortRange } from "../../values/ports.ts";
import { parseMapPorts, parsePublished } from "./read_nft.ts";
import type { Entry, RunNft } from "./nft_listing.ts";

/** Those in a listing of the ruleset, its maps looked up; `undefined` where rules do not say which. */
export async function publishedPorts(
  entries: readonly Entry[],
  nft: RunNft,
): Promise<PortRange[] | undefined> {
  const { ports, maps, unknown } = parsePublished(entries);
  const found = [...ports];
  for (const map of maps) {
    const keys = parseMapPorts(await nft(["--json", "list", "map", ...map.split(" ")]));
    if (!keys) return undefined;
    found.push(...keys);
  }
  return unknown ? undefined : found;
}
