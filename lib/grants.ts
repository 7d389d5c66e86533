/**
 * Grants: who is let in, to what, until when. Pure state; what has to change in the firewall is derived from it as the
 * complete list of an address's openings, disjoint, each with the time it has left.
 */

import { type Address, formatAddress } from "./address.ts";
import { type Moment, wallMsOf } from "./clock.ts";
import {
  comparePortRanges,
  intersectPortRanges,
  mergePortRanges,
  type PortRange,
} from "./ports.ts";

/** Access in force for one client at one address. */
export interface Grant {
  readonly client: string;
  /** The client's public key in hex. */
  readonly key: string;
  readonly address: Address;
  /** What was opened, the health port included. Disjoint. */
  readonly ports: readonly PortRange[];
  /** Wall clock, ms since 1970, of the first knock of this grant. */
  readonly openedAtMs: number;
  /** Wall clock, ms since 1970; for people and for the time after a reboot. */
  readonly expiresAtMs: number;
  /** Steady clock: when it really ends. */
  readonly endsSteadyMs: number;
}

/** A range that an address may reach, for `timeoutMs` from now. */
export interface Opening extends PortRange {
  readonly timeoutMs: number;
}

/** Everything that one address may reach from now on; nothing where `openings` is empty. */
export interface AddressOpenings {
  readonly address: Address;
  readonly openings: readonly Opening[];
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
}

/** All grants in force. */
export class Grants {
  readonly #byAddress = new Map<string, Map<string, Grant>>();
  readonly #countByClient = new Map<string, number>();
  readonly #caps: GrantCaps;
  #total = 0;

  constructor(caps: GrantCaps = GRANT_CAPS) {
    this.#caps = caps;
  }

  /** Whether the caps allow this client a grant for this address; a renewal always fits. */
  hasRoom(client: string, address: Address): boolean {
    const here = this.#byAddress.get(formatAddress(address));
    if (here?.has(client)) return true;
    return this.#total < this.#caps.total &&
      (this.#countByClient.get(client) ?? 0) < this.#caps.perClient &&
      (here?.size ?? 0) < this.#caps.perAddress;
  }

  /** Opens a grant, or restarts the time of the one that this client has for this address. */
  open(address: Address, permission: Permission, now: Moment): { grant: Grant; renewed: boolean } {
    const old = this.#byAddress.get(formatAddress(address))?.get(permission.client);
    const current = old && old.endsSteadyMs > now.steadyMs ? old : undefined;
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
    return { grant, renewed: current !== undefined };
  }

  /** Takes a grant as it is, in place of one for the same client and address. */
  put(grant: Grant): void {
    const text = formatAddress(grant.address);
    let here = this.#byAddress.get(text);
    if (!here) this.#byAddress.set(text, here = new Map());
    if (!here.has(grant.client)) {
      this.#total++;
      this.#countByClient.set(grant.client, (this.#countByClient.get(grant.client) ?? 0) + 1);
    }
    here.set(grant.client, grant);
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
    for (const here of this.#byAddress.values()) yield* here.values();
  }

  /** The grants of one address. */
  at(address: Address): Grant[] {
    return [...this.#byAddress.get(formatAddress(address))?.values() ?? []];
  }

  get size(): number {
    return this.#total;
  }

  /**
   * What the address may reach now: the union of its grants as disjoint ranges, each open as long as the longest grant
   * that covers it, so that no client's end closes what another still holds.
   */
  openingsOf(address: Address, now: Moment): AddressOpenings {
    const here = this.#byAddress.get(formatAddress(address));
    return { address, openings: here ? disjointOpenings([...here.values()], now) : [] };
  }

  /** The clients that hold a grant for this address. */
  clientsAt(address: Address): string[] {
    return [...this.#byAddress.get(formatAddress(address))?.keys() ?? []];
  }

  /** {@linkcode openingsOf} for every address that holds a grant. */
  allOpenings(now: Moment): AddressOpenings[] {
    return [...this.#byAddress.values()].flatMap((here) => {
      const [first] = here.values();
      return first
        ? [{ address: first.address, openings: disjointOpenings([...here.values()], now) }]
        : [];
    }).filter(({ openings }) => openings.length > 0);
  }

  #take(wanted: (grant: Grant) => boolean): Grant[] {
    const taken = [...this.list()].filter(wanted);
    for (const grant of taken) {
      const text = formatAddress(grant.address);
      const here = this.#byAddress.get(text)!;
      here.delete(grant.client);
      if (here.size === 0) this.#byAddress.delete(text);
      this.#total--;
      const left = this.#countByClient.get(grant.client)! - 1;
      if (left > 0) this.#countByClient.set(grant.client, left);
      else this.#countByClient.delete(grant.client);
    }
    return taken;
  }
}

/**
 * A stored grant as it may go on after a restart, or `undefined`: only under the same key, only to the ports that are
 * still allowed, never for longer than a knock opens now, never where it would have been opened in the future.
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
 * are still allowed, for the time that it had, at most what a knock opens now. Time is the steady clock's; the wall
 * clock, which somebody may have set meanwhile, only says when the key ends.
 */
export function narrowGrant(
  grant: Grant,
  permission: Permission | undefined,
  now: Moment,
): Grant | undefined {
  if (!permission || permission.key !== grant.key) return undefined;
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

function disjointOpenings(grants: readonly Grant[], now: Moment): Opening[] {
  const live = grants.filter((grant) => grant.endsSteadyMs > now.steadyMs);
  const [only, ...others] = live;
  if (only && others.length === 0) { // nearly always: its ports are disjoint already
    const timeoutMs = only.endsSteadyMs - now.steadyMs;
    return joinNeighbours(
      only.ports.map((range) => ({ ...range, timeoutMs })).sort(comparePortRanges),
    );
  }
  const pieces: Opening[] = [];
  for (const protocol of ["tcp", "udp"] as const) {
    const ranges = live.flatMap(({ ports, endsSteadyMs }) =>
      ports.filter((range) => range.protocol === protocol)
        .map((range) => ({ ...range, timeoutMs: endsSteadyMs - now.steadyMs }))
    );
    // Between two neighbouring edges the same grants hold throughout.
    const edges = [...new Set(ranges.flatMap(({ first, last }) => [first, last + 1]))].sort((
      a,
      b,
    ) => a - b);
    for (const [i, first] of edges.slice(0, -1).entries()) {
      const last = edges[i + 1]! - 1;
      const timeoutMs = Math.max(
        0,
        ...ranges.filter((range) => range.first <= first && last <= range.last).map((range) =>
          range.timeoutMs
        ),
      );
      if (timeoutMs > 0) pieces.push({ protocol, first, last, timeoutMs });
    }
  }
  return joinNeighbours(pieces.sort(comparePortRanges));
}

/** Fewer elements: neighbours that end together are one range. */
function joinNeighbours(pieces: readonly Opening[]): Opening[] {
  const joined: Opening[] = [];
  for (const piece of pieces) {
    const previous = joined.at(-1);
    if (
      previous && previous.protocol === piece.protocol && previous.last + 1 === piece.first &&
      previous.timeoutMs === piece.timeoutMs
    ) joined[joined.length - 1] = { ...previous, last: piece.last };
    else joined.push(piece);
  }
  return joined;
}
