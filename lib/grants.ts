/**
 * Grants: who is let in, to what, until when. Pure state; the firewall is given the complete list of an address's
 * openings, disjoint, each with the time it has left.
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
import type { Cap, Extended } from "./values/extended.ts";
import { disjointOpenings, type Opening } from "./values/openings.ts";
import { mergePortRanges, type PortRange } from "./values/ports.ts";

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
  /** What traffic keeps open for longer, where the client may have that. */
  readonly extended?: Extended | undefined;
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
 * With a firewall that narrows, each knock lets one more address of the network connect.
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
  /** What traffic keeps open for longer after a knock of now. */
  readonly caps?: readonly Cap[] | undefined;
  /** How wide its grants are. @default {SINGLE} */
  readonly prefix?: PrefixLengths | undefined;
}

/** The grants for exactly one address or network. */
interface AddressGrants {
  readonly address: Network;
  readonly byClient: Map<string, Grant>;
  knocks: Knocks | undefined;
}

/** All grants in force. */
export class Grants {
  readonly #byAddress = new Map<string, AddressGrants>();
  /** How many networks there are of each prefix length: an address may lie in one of each. */
  readonly #countByLength = new Map<number, number>();
  readonly #countByClient = new Map<string, number>();
  readonly #caps: GrantCaps;
  #total = 0;
  #knocks = 0;

  constructor(caps: GrantCaps = GRANT_CAPS) {
    this.#caps = caps;
  }

  /** Whether the caps allow this client, with such lengths, a grant for this address; a renewal always fits. */
  hasRoom(client: string, address: Address, prefix?: PrefixLengths): boolean {
    const here = this.#exactly(grantedNetwork(address, prefix))?.byClient;
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
    const before = this.#exactly(address)?.byClient;
    const isLive = (grant: Grant) => lastEndOf(grant, "endsSteadyMs") > now.steadyMs;
    const wasOpen = [...before?.values() ?? []].some(isLive);
    const old = before?.get(permission.client);
    const current = old && isLive(old) ? old : undefined;
    const grant: Grant = {
      client: permission.client,
      key: permission.key,
      address,
      ports: mergePortRanges(permission.ports),
      openedAtMs: current?.openedAtMs ?? wallMsOf(now),
      ...endOf(permission, now),
      ...(permission.caps && { extended: { caps: permission.caps, activeUntilMs: 0 } }),
    };
    this.put(grant);
    const here = this.#exactly(address)!;
    if (here.knocks) {
      const latest = ++this.#knocks;
      here.knocks = { first: wasOpen ? here.knocks.first : latest, latest };
    }
    return { grant, renewed: current !== undefined };
  }

  /** Takes a grant as it is, in place of one for the same client and address. */
  put(grant: Grant): void {
    const { address, client } = grant;
    let here = this.#exactly(address);
    if (!here) {
      // Before the first knock of this process: what was resumed.
      const knocks = isSingle(address) ? undefined : { first: 0, latest: 0 };
      here = { address, byClient: new Map(), knocks };
      this.#byAddress.set(formatNetwork(address), here);
      count(this.#countByLength, address.length, 1);
    }
    if (!here.byClient.has(client)) {
      this.#total++;
      count(this.#countByClient, client, 1);
    }
    here.byClient.set(client, grant);
  }

  /** Removes and returns the grants that have ended. The kernel has closed them already, by its own clock. */
  takeExpired(now: Moment): Grant[] {
    return this.#take((grant) => lastEndOf(grant, "endsSteadyMs") <= now.steadyMs);
  }

  /** Removes and returns the grants that `unwanted` picks; the caller must take them from the firewall as well. */
  withdraw(unwanted: (grant: Grant) => boolean): Grant[] {
    return this.#take(unwanted);
  }

  /** All grants, in no particular order. */
  *list(): Generator<Grant> {
    for (const { byClient } of this.#byAddress.values()) yield* byClient.values();
  }

  /** The grants that let this address in: its own, and those of the networks that it lies in. */
  at(address: Address): Grant[] {
    return [...this.#countByLength.keys()].flatMap((length) => {
      const network = networkOf(address, length);
      return [...this.#exactly(network)?.byClient.values() ?? []];
    });
  }

  /** When the last grant of a key ends, on the steady clock; `undefined` where none is in force. */
  endOfKey(key: string, { steadyMs }: Moment): number | undefined {
    let endMs = steadyMs;
    for (const grant of this.list()) {
      if (grant.key === key) endMs = Math.max(endMs, grant.endsSteadyMs);
    }
    return endMs > steadyMs ? endMs : undefined;
  }

  get size(): number {
    return this.#total;
  }

  /** What this address or network may reach now: the union of its own grants. */
  openingsOf(address: Network, now: Moment): AddressOpenings {
    const here = this.#exactly(address);
    return here ? openingsAt(here, now) : { address, openings: [] };
  }

  /** The clients that hold a grant for exactly this address or network. */
  clientsAt(address: Network): string[] {
    return [...this.#exactly(address)?.byClient.keys() ?? []];
  }

  /** {@linkcode openingsOf} for every address and network that holds a grant. */
  allOpenings(now: Moment): AddressOpenings[] {
    return [...this.#byAddress.values()].map((each) => openingsAt(each, now))
      .filter(({ openings }) => openings.length > 0);
  }

  #exactly(address: Network): AddressGrants | undefined {
    return this.#byAddress.get(formatNetwork(address));
  }

  #take(wanted: (grant: Grant) => boolean): Grant[] {
    const taken = [...this.list()].filter(wanted);
    for (const { address, client } of taken) {
      const { byClient } = this.#exactly(address)!;
      byClient.delete(client);
      if (byClient.size === 0) {
        this.#byAddress.delete(formatNetwork(address));
        count(this.#countByLength, address.length, -1);
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

function openingsAt({ address, byClient, knocks }: AddressGrants, now: Moment): AddressOpenings {
  const grants = [...byClient.values()];
  const caps = disjointOpenings(grants.flatMap(({ extended }) => extended?.caps ?? []), now);
  const openings = [
    ...disjointOpenings(grants, now),
    ...caps.map((cap): Opening => ({ ...cap, whileActive: true })),
  ];
  return knocks ? { address, openings, knocks } : { address, openings };
}

/** When the last of a grant ends that traffic may keep open, on one of the two clocks. */
export function lastEndOf(grant: Grant, clock: "expiresAtMs" | "endsSteadyMs"): number {
  if (!grant.extended) return grant[clock];
  return Math.max(grant[clock], ...grant.extended.caps.map((cap) => cap[clock]));
}

/** When a grant ends, on both clocks: `leftMs` from now, or sooner where the permission says so. */
export function endOf(
  permission: Permission,
  now: Moment,
  leftMs = Infinity,
): Pick<Grant, "expiresAtMs" | "endsSteadyMs"> {
  const wallMs = wallMsOf(now);
  const lifetimeMs = Math.min(
    leftMs,
    permission.lifetimeMs,
    (permission.expiresAtMs ?? Infinity) - wallMs,
  );
  return { expiresAtMs: wallMs + lifetimeMs, endsSteadyMs: now.steadyMs + lifetimeMs };
}
