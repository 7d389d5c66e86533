/**
 * Reads who has connected in networks that are open, out of the sets that the kernel fills: to forget it where a network
 * opens anew, and to keep it where the table is made anew.
 */

import { type Address, sameAddress } from "../../values/address.ts";
import { OpenmeError } from "../../values/errors.ts";
import type { AddressOpenings } from "../../grants.ts";
import { containsAddress, isSingle, type Network } from "../../values/network.ts";
import type { HeldOpenings } from "./narrowing_state.ts";
import {
  CLAIMED_NETWORKS,
  claimedSet,
  type NetworkNotes,
  notedSet,
  parseAddressSet,
  prefixesIn,
} from "./prefix_rules.ts";
import { prefixOf } from "./sets.ts";

/** A table is made in one message to the kernel, whose length has a bound. Who is noted beyond that needs another knock. */
const MOST_KEPT = 2048;

/** What `nft --json list set` prints of one of openme's sets; `undefined` where there is none. */
export type ListSet = (set: string) => Promise<string | undefined>;

/** What has to be forgotten. */
export interface StandingNotes {
  /** Of the networks that were knocked for, those that are claimed. */
  readonly claims: readonly Network[];
  /** Who is noted in the networks that open anew. */
  readonly notes: readonly { network: Network; noted: readonly Address[] }[];
}

/**
 * Finds it: mostly nothing. To list a set is cheap; to take an element out of one is not, see `nft_sets.ts`. Throws where
 * no more networks can be claimed: the next `install` makes the sets anew, with room.
 */
export async function standingNotes(
  { knocked, anew }: { knocked: readonly AddressOpenings[]; anew: readonly AddressOpenings[] },
  listSet: ListSet,
): Promise<StandingNotes> {
  const claimed = await listAddresses(prefixesIn([], knocked).map(claimedSet), listSet);
  for (const [set, networks] of claimed) {
    if (networks.length >= CLAIMED_NETWORKS) {
      throw new OpenmeError("FIREWALL", `the set ${set} is full: nobody new can claim a network`);
    }
  }
  const noted = await notedIn(anew, listSet);
  return {
    claims: knocked.map(({ address }) => address).filter((network) => isClaimed(network, claimed)),
    notes: anew.map(({ address }) => ({ network: address, noted: noted(address) })),
  };
}

/** The addresses that are noted in each of these networks. */
async function notedIn(
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
      claimed: !held.isKnockedAnew(each) && isClaimed(each.address, claimed),
      noted: noted(each.address).filter(() => room-- > 0),
    }));
  } catch {
    return []; // gone: the next to connect is the first again
  }
}

function isClaimed(network: Network, claimed: ReadonlyMap<string, readonly Address[]>): boolean {
  return claimed.get(claimedSet(prefixOf(network)))
    ?.some((each) => sameAddress(each, network.base)) ?? false;
}

async function listAddresses(
  sets: readonly string[],
  listSet: ListSet,
): Promise<Map<string, Address[]>> {
  return new Map(
    await Promise.all(
      sets.map(async (set) => [set, parseAddressSet(await listSet(set) ?? "{}")] as const),
    ),
  );
}
