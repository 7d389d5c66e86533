/**
 * Grants: who is let in, to what, until when. Pure state; what has to change in the firewall is derived from it as the
 * complete list of an address's openings, disjoint, each with the time it has left.
 */

import type { Address } from "./values/address.ts";
import { type Moment, wallMsOf } from "./values/moment.ts";
import {
  formatNetwork,
  grantedNetwork,
  isSingle,
  type Network,
  networkOf,
  type PrefixLengths,
} from "./values/network.ts";
import { disjointOpenings, type Opening } from "./values/openings.ts";
import { intersectPortRanges, mergePortRanges, type PortRange } from "./values/ports.ts";

/** Access in force for one client at one address, or in the network around it. */
export interface Grant {
  readonly client: string;
  /** The client's public key in hex. */
  readonly key: string;
  readonly address: Network;
  /** What was opened, the health port included. Disjoint. */
  readonly ports: readonly PortRange[];
  /** Wall clock, ms since 1970, of the first knock of this grant. */
  readonly openedAtMs: number;
  /** Wall clock, ms since 1970; for people and for the time after a reboot. */
  readonly expiresAtMs: number;
  /** Steady clock: when it really ends. */
  readonly endsSteadyMs: number;
}

/** Everything that one address or network may reach from now on; nothing where `openings` is empty. */
export interface AddressOpenings {
  readonly address: Network;
  readonly openings: readonly Opening[];
  /** Of a network that is wider than one address: its knocks, where there were any. */
  readonly knocks?: Knocks | undefined;
}

/**
 * Which knocks opened a network, by their numbers within this process: the first since it was closed, and the latest.
 * Each lets one more address claim the network, where the firewall narrows.
 */
export interface Knocks {
  readonly first: number;
  readonly latest: number;
}

/** How many grants there may be: bounds on what registered clients can make the server and the kernel hold. */
export interface GrantCaps {
  readonly total: number;
  readonly perClient: number;
  readonly perAddress: number;
}

export const GRANT_CAPS: GrantCaps = { total: 65_536, perClient: 256, perAddress: 256 };

/** What a client may have: for {@linkcode Grants.open} and for putting grants back. */
export interface Permission {
  readonly client: string;
  readonly key: string;
  readonly ports: readonly PortRange[];
  /** How long a knock opens, ms. */
  readonly lifetimeMs: number;
  /** Wall clock, ms since 1970; no grant lasts past it. */
  readonly expiresAtMs: number | undefined;
  /** How wide its grants are. @default {SINGLE} */
  readonly prefix?: PrefixLengths | undefined;
}

/** The grants of one address or network. */
interface Place {
  readonly address: Network;
  readonly byClient: Map<string, Grant>;
  knocks: Knocks | undefined;
}

/** All grants in force. */
export class Grants {
  readonly #places = new Map<string, Place>();
  /** How many places there are of each prefix length: an address may lie in one of each. */
  readonly #placesByLength = new Map<number, number>();
  readonly #countByClient = new Map<string, number>();
  readonly #caps: GrantCaps;
  #total = 0;
  #knocks = 0;

  constructor(caps: GrantCaps = GRANT_CAPS) {
    this.#caps = caps;
  }

  /** Whether the caps allow this client, with such lengths, a grant for this address; a renewal always fits. */
  hasRoom(client: string, address: Address, prefix?: PrefixLengths): boolean {
    const here = this.#placeOf(grantedNetwork(address, prefix))?.byClient;
    if (here?.has(client)) return true;
    return this.#total < this.#caps.total &&
      (this.#countByClient.get(client) ?? 0) < this.#caps.perClient &&
      (here?.size ?? 0) < this.#caps.perAddress;
  }

  /**
   * Opens a grant for the address, or the network around it that this client gets; or restarts the time of the one that
   * it has.
   */
  open(target: Address, permission: Permission, now: Moment): { grant: Grant; renewed: boolean } {
    const address = grantedNetwork(target, permission.prefix);
    const place = this.#placeOf(address);
    const isLive = ({ endsSteadyMs }: Grant) => endsSteadyMs > now.steadyMs;
    const wasOpen = [...place?.byClient.values() ?? []].some(isLive);
    const old = place?.byClient.get(permission.client);
    const current = old && isLive(old) ? old : undefined;
    const wallMs = wallMsOf(now);
    const lifetimeMs = Math.min(
      permission.lifetimeMs,
      (permission.expiresAtMs ?? Infinity) - wallMs,
    );
    const grant: Grant = {
      client: permission.client,
      key: permission.key,
      address,
      ports: mergePortRanges(permission.ports),
      openedAtMs: current?.openedAtMs ?? wallMs,
      expiresAtMs: wallMs + lifetimeMs,
      endsSteadyMs: now.steadyMs + lifetimeMs,
    };
    this.put(grant);
    const here = this.#placeOf(address)!;
    if (here.knocks) {
      const latest = ++this.#knocks;
      here.knocks = { first: wasOpen ? here.knocks.first : latest, latest };
    }
    return { grant, renewed: current !== undefined };
  }

  /** Takes a grant as it is, in place of one for the same client and address. */
  put(grant: Grant): void {
    const { address, client } = grant;
    let place = this.#placeOf(address);
    if (!place) {
      // Before the first knock of this process: what was resumed.
      const knocks = isSingle(address) ? undefined : { first: 0, latest: 0 };
      place = { address, byClient: new Map(), knocks };
      this.#places.set(formatNetwork(address), place);
      count(this.#placesByLength, address.length, 1);
    }
    if (!place.byClient.has(client)) {
      this.#total++;
      count(this.#countByClient, client, 1);
    }
    place.byClient.set(client, grant);
  }

  /** Removes and returns the grants that have ended. The kernel has closed them already, by its own clock. */
  takeExpired(now: Moment): Grant[] {
    return this.#take((grant) => grant.endsSteadyMs <= now.steadyMs);
  }

  /** Removes and returns the grants that `unwanted` picks; the caller must take them from the firewall as well. */
  withdraw(unwanted: (grant: Grant) => boolean): Grant[] {
    return this.#take(unwanted);
  }

  /** All grants, in no particular order. */
  *list(): Generator<Grant> {
    for (const { byClient } of this.#places.values()) yield* byClient.values();
  }

  /** The grants that let this address in: its own, and those of the networks that it lies in. */
  at(address: Address): Grant[] {
    return [...this.#placesByLength.keys()].flatMap((length) => {
      const network = networkOf(address, length);
      return [...this.#placeOf(network)?.byClient.values() ?? []];
    });
  }

  get size(): number {
    return this.#total;
  }

  /** What this address or network may reach now: the union of its own grants. */
  openingsOf(address: Network, now: Moment): AddressOpenings {
    const place = this.#placeOf(address);
    return place ? openingsAt(place, now) : { address, openings: [] };
  }

  /** The clients that hold a grant for exactly this address or network. */
  clientsAt(address: Network): string[] {
    return [...this.#placeOf(address)?.byClient.keys() ?? []];
  }

  /** {@linkcode openingsOf} for every address and network that holds a grant. */
  allOpenings(now: Moment): AddressOpenings[] {
    return [...this.#places.values()].map((place) => openingsAt(place, now))
      .filter(({ openings }) => openings.length > 0);
  }

  #placeOf(address: Network): Place | undefined {
    return this.#places.get(formatNetwork(address));
  }

  #take(wanted: (grant: Grant) => boolean): Grant[] {
    const taken = [...this.list()].filter(wanted);
    for (const { address, client } of taken) {
      const { byClient } = this.#placeOf(address)!;
      byClient.delete(client);
      if (byClient.size === 0) {
        this.#places.delete(formatNetwork(address));
        count(this.#placesByLength, address.length, -1);
      }
      this.#total--;
      count(this.#countByClient, client, -1);
    }
    return taken;
  }
}

/** What is counted down to nothing is forgotten. */
function count<T>(counts: Map<T, number>, key: T, change: 1 | -1): void {
  const left = (counts.get(key) ?? 0) + change;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}

function openingsAt({ address, byClient, knocks }: Place, now: Moment): AddressOpenings {
  const openings = disjointOpenings([...byClient.values()], now);
  return knocks ? { address, openings, knocks } : { address, openings };
}

/**
 * A stored grant as it may go on after a restart, or `undefined`: only under the same key, only to the ports that are
 * still allowed, never for longer or wider than a knock opens now, never where it would have been opened in the future.
 *
 * `sameBoot` says whether the stored steady time counts from the same boot as `now`; then the wall clock can no longer
 * lengthen it.
 */
export function resumeGrant(
  stored: Grant,
  permission: Permission | undefined,
  now: Moment,
  { sameBoot }: { sameBoot: boolean },
): Grant | undefined {
  const wallMs = wallMsOf(now);
  if (!permission || permission.key !== stored.key || stored.openedAtMs > wallMs) return undefined;
  if (isTooWide(stored.address, permission)) return undefined;
  const ports = intersectPortRanges(stored.ports, permission.ports);
  const leftMs = Math.min(
    stored.expiresAtMs - wallMs,
    sameBoot ? stored.endsSteadyMs - now.steadyMs : Infinity,
    permission.lifetimeMs,
    (permission.expiresAtMs ?? Infinity) - wallMs,
  );
  if (ports.length === 0 || leftMs <= 0) return undefined;
  // A client that was renamed keeps what its key has opened.
  const { client } = permission;
  return {
    ...stored,
    client,
    ports,
    expiresAtMs: wallMs + leftMs,
    endsSteadyMs: now.steadyMs + leftMs,
  };
}

/**
 * A grant in force as it may go on under another configuration, or `undefined`: under the same key, to the ports that
 * are still allowed, for the time that it had, at most what a knock opens now, no wider than one. Time is the steady clock's; the wall
 * clock, which somebody may have set meanwhile, only says when the key ends.
 */
export function narrowGrant(
  grant: Grant,
  permission: Permission | undefined,
  now: Moment,
): Grant | undefined {
  if (!permission || permission.key !== grant.key) return undefined;
  if (isTooWide(grant.address, permission)) return undefined;
  const wallMs = wallMsOf(now);
  const ports = intersectPortRanges(grant.ports, permission.ports);
  const leftMs = Math.min(
    grant.endsSteadyMs - now.steadyMs,
    permission.lifetimeMs,
    (permission.expiresAtMs ?? Infinity) - wallMs,
  );
  if (ports.length === 0 || leftMs <= 0) return undefined;
  const { client } = permission;
  return {
    ...grant,
    client,
    ports,
    expiresAtMs: wallMs + leftMs,
    endsSteadyMs: now.steadyMs + leftMs,
  };
}

/** A network cannot be cut down: nobody knows any more which of its addresses was meant. */
function isTooWide({ base, length }: Network, { prefix }: Permission): boolean {
  return length < grantedNetwork(base, prefix).length;
}
