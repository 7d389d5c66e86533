/**
 * Narrowing in nftables: which addresses of a network may use its grant (docs/firewalls.md, "Networks"). The kernel
 * fills the sets of the addresses that were let in ("noted") and of the networks that one has connected in ("claimed").
 * Here both are forgotten where a network opens anew, the claim with each knock, and kept where the table is made anew.
 * Loaded only where a grant is for a network.
 */

import { type Address, sameAddress } from "../../values/address.ts";
import { OpenmeError } from "../../values/errors.ts";
import type { AddressOpenings, Knocks } from "../../grants.ts";
import { containsAddress, formatNetwork, isSingle, type Network } from "../../values/network.ts";
import type { GuardPlan, Prefix } from "../plan.ts";
import {
  CLAIMED_NETWORKS,
  claimedSet,
  MOST_NOTE_MS,
  type NetworkNotes,
  notedSet,
  parseAddressSet,
  prefixesIn,
  renderForgetting,
  renderNetworks,
} from "./prefix_rules.ts";
import type { RenderFurther } from "./rules.ts";
import { openingSets, prefixOf } from "./sets.ts";

/** A table is made in one message to the kernel, whose length has a bound. Further addresses need another knock. */
const MOST_KEPT = 2048;
/** How long after its end a network is still kept in mind: the kernel's end may come a little later than ours. */
const SLACK_MS = 60_000;

/** openme's table, as narrowing needs it. */
export interface NetworkTable {
  /** What `nft --json list set` prints of a set; `undefined` where there is none. */
  readonly listSet: (set: string) => Promise<string | undefined>;
  readonly transact: (text: string) => Promise<void>;
  readonly close: (networks: readonly Network[]) => Promise<void>;
}

/** A network that is open, or was. */
interface Seen {
  readonly knocks: Knocks | undefined;
  readonly isOpen: boolean;
  /** Until when an address may be noted there; steady clock, ms. */
  readonly notedUntilMs: number;
}

/** What is known of the networks in one table. */
export class Narrowing {
  readonly #table: NetworkTable;
  readonly #seen = new Map<string, Seen>();
  /** The sizes of networks that the table has sets for. */
  #prefixes: readonly Prefix[] = [];

  constructor(table: NetworkTable) {
    this.#table = table;
  }

  /** The sets of openings of networks. */
  get sets(): string[] {
    return this.#prefixes.flatMap(openingSets);
  }

  /** What is to be in a new table with these openings; before that, see {@linkcode notesToKeep}. */
  render(
    plan: GuardPlan,
    openings: readonly AddressOpenings[],
    notes: readonly NetworkNotes[],
  ): RenderFurther {
    this.#prefixes = prefixesIn(plan.prefixes, openings);
    return renderNetworks(plan, openings, notes);
  }

  /** The table is made anew with these openings alone. */
  replace(openings: readonly AddressOpenings[], nowMs: number): void {
    this.#seen.clear();
    this.remember(openings, nowMs);
  }

  /** From now on each of these has these openings. */
  remember(changes: readonly AddressOpenings[], nowMs: number): void {
    for (const { address, openings, knocks } of changes) {
      if (isSingle(address)) continue;
      const text = formatNetwork(address);
      const before = this.#seen.get(text);
      if (openings.length > 0) {
        const endsMs = nowMs + Math.max(...openings.map(({ timeoutMs }) => timeoutMs));
        const notedUntilMs = endsMs + SLACK_MS + MOST_NOTE_MS;
        this.#seen.set(text, { knocks, isOpen: true, notedUntilMs });
      } else if (before) this.#seen.set(text, { ...before, isOpen: false });
    }
  }

  /** To be called before these changes are written; throws as {@linkcode forget} does. */
  async open(changes: readonly AddressOpenings[]): Promise<void> {
    await this.forget(changes);
    this.remember(changes, performance.now());
  }

  forgetEnded(nowMs: number): void {
    for (const [text, { notedUntilMs }] of this.#seen) {
      if (notedUntilMs < nowMs) this.#seen.delete(text);
    }
  }

  /**
   * Before these changes are written: forgets the claims of the networks that were knocked for since, and the notes of
   * those that open anew. Throws where the table has no set for one; the next `install` makes it.
   */
  async forget(changes: readonly AddressOpenings[]): Promise<void> {
    const opened = changes.filter(({ address, openings }) =>
      !isSingle(address) && openings.length > 0
    );
    const stranger = opened.find(({ address }) =>
      !this.sets.includes(openingSets(prefixOf(address))[0])
    );
    if (stranger) {
      throw new OpenmeError(
        "FIREWALL",
        `the table has no set for networks such as ${formatNetwork(stranger.address)}`,
      );
    }
    const knocked = opened.filter((each) => this.#isKnockedAnew(each)).map(({ address }) =>
      address
    );
    const anew = opened.filter((each) => this.#opensAnew(each)).map(({ address }) => address)
      .filter((network) => this.#seen.has(formatNetwork(network)));
    // Closed first: the kernel's time may not be over where ours is, and it would go on noting.
    await this.#table.close(anew);
    const claimed = await this.#list(knocked, claimedSet);
    for (const [set, networks] of claimed) {
      if (networks.length < CLAIMED_NETWORKS) continue;
      // The next `install` makes the sets anew, with room.
      throw new OpenmeError(
        "FIREWALL",
        `the set ${set} is full: no further network can be claimed`,
      );
    }
    const noted = await this.#list(anew, notedSet);
    const text = renderForgetting(
      knocked.filter((network) => isClaimed(network, claimed)),
      anew.map((network) => ({ network, noted: notedIn(network, noted) })),
    );
    if (text) await this.#table.transact(text);
  }

  /** The notes and claims of networks that stay open, out of the table that is about to be replaced. */
  async notesToKeep(openings: readonly AddressOpenings[]): Promise<NetworkNotes[]> {
    const kept = openings.filter((each) => !isSingle(each.address) && !this.#opensAnew(each));
    const networks = kept.map(({ address }) => address);
    try {
      const noted = await this.#list(networks, notedSet);
      const claimed = await this.#list(networks, claimedSet);
      let room = MOST_KEPT;
      return kept.map((each) => ({
        network: each.address,
        claimed: !this.#isKnockedAnew(each) && isClaimed(each.address, claimed),
        noted: notedIn(each.address, noted).filter(() => room-- > 0),
      }));
    } catch {
      return []; // the next to connect is the first again
    }
  }

  /** Whether this opens a network that was closed before: then no note of it holds. */
  #opensAnew({ address, knocks }: AddressOpenings): boolean {
    const seen = this.#seen.get(formatNetwork(address));
    return !seen?.isOpen || seen.knocks?.first !== knocks?.first;
  }

  /** Whether this network was knocked for since: then one more address may claim it. */
  #isKnockedAnew(change: AddressOpenings): boolean {
    const seen = this.#seen.get(formatNetwork(change.address));
    return this.#opensAnew(change) || seen?.knocks?.latest !== change.knocks?.latest;
  }

  /** What stands in the sets that belong to these networks. */
  async #list(
    networks: readonly Network[],
    setFor: (prefix: Prefix) => string,
  ): Promise<Map<string, readonly Address[]>> {
    const listed = new Map<string, readonly Address[]>();
    for (const set of new Set(networks.map((network) => setFor(prefixOf(network))))) {
      const listing = await this.#table.listSet(set);
      listed.set(set, listing === undefined ? [] : parseAddressSet(listing));
    }
    return listed;
  }
}

function isClaimed(network: Network, claimed: ReadonlyMap<string, readonly Address[]>): boolean {
  return claimed.get(claimedSet(prefixOf(network)))
    ?.some((each) => sameAddress(each, network.base)) ?? false;
}

function notedIn(network: Network, noted: ReadonlyMap<string, readonly Address[]>): Address[] {
  return noted.get(notedSet(prefixOf(network)))?.filter((each) => containsAddress(network, each)) ??
    [];
}
