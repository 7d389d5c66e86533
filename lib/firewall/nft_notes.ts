/**
 * Reads who has connected in networks that are open, out of the sets that the kernel fills: to forget it where a network
 * opens anew, and to keep it where the table is made anew.
 */

import { type Address, sameAddress } from "../address.ts";
import type { AddressOpenings } from "../grants.ts";
import { containsAddress, isSingle, type Network } from "../network.ts";
import type { HeldOpenings } from "./nft_held.ts";
import {
  claimedSet,
  type NetworkNotes,
  notedSet,
  parseAddressSet,
  prefixesIn,
  prefixOf,
} from "./nft_prefixes.ts";

/** A table is made in one message to the kernel, whose length has a bound. Who is noted beyond that needs another knock. */
const MOST_KEPT = 2048;

/** What `nft --json list set` prints of one of openme's sets; rejects where there is none. */
export type ListSet = (set: string) => Promise<string>;

/** The addresses that are noted in each of these networks, by its prefix set. */
export async function notedIn(
  networks: readonly AddressOpenings[],
  listSet: ListSet,
): Promise<(network: Network) => readonly Address[]> {
  const bySet = await listAddresses(prefixesIn([], networks).map(notedSet), listSet);
  return (network) =>
    bySet.get(notedSet(prefixOf(network)))?.filter((each) => containsAddress(network, each)) ?? [];
}

/** Who has connected in networks that stay open, where the table is still there to tell. */
export async function notesToKeep(
  openings: readonly AddressOpenings[],
  held: HeldOpenings,
  listSet: ListSet,
): Promise<NetworkNotes[]> {
  const kept = openings.filter((each) => !isSingle(each.address) && !held.opensAnew(each));
  if (kept.length === 0) return [];
  try {
    const noted = await notedIn(kept, listSet);
    const claimed = await listAddresses(prefixesIn([], kept).map(claimedSet), listSet);
    let room = MOST_KEPT;
    return kept.map((each) => ({
      network: each.address,
      claimed: !held.isKnockedAnew(each) &&
        (claimed.get(claimedSet(prefixOf(each.address))) ?? [])
          .some((one) => sameAddress(one, each.address.base)),
      noted: noted(each.address).filter(() => room-- > 0),
    }));
  } catch {
    return []; // gone: the next to connect is the first again
  }
}

async function listAddresses(
  sets: readonly string[],
  listSet: ListSet,
): Promise<Map<string, Address[]>> {
  return new Map(
    await Promise.all(
      sets.map(async (set) => [set, parseAddressSet(await listSet(set))] as const),
    ),
  );
}
