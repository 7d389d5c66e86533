/**
 * What a restart or another configuration leaves of each grant. Pure.
 */

import { type Moment, wallMsOf } from "../values/moment.ts";
import { narrowExtended, sameCaps } from "../config/extend.ts";
import { endOf, type Grant, lastEndOf, type Permission } from "../grants.ts";
import type { HistoryEvent } from "../state/history_writer.ts";
import { formatNetwork, grantedNetwork, type Network } from "../values/network.ts";
import {
  formatPortRange,
  intersectPortRanges,
  shownPorts,
  subtractPortRanges,
} from "../values/ports.ts";

/** A grant that does not go on as it is. */
export interface GrantChange {
  readonly grant: Grant;
  /** The grant that goes on in its place; `undefined` where it is withdrawn. */
  readonly left: Grant | undefined;
  readonly why: string;
}

/** What a key, in hex, may open. */
export type PermissionOf = (key: string) => Permission | undefined;

/** The grants that do not go on as they are where only this is permitted. */
export function changesUnder(
  permissionOf: PermissionOf,
  grants: Iterable<Grant>,
  now: Moment,
): GrantChange[] {
  const changes: GrantChange[] = [];
  for (const grant of grants) {
    const left = narrowGrant(grant, permissionOf(grant.key), now);
    if (left && sameGrant(left, grant)) continue;
    changes.push({ grant, left, why: whyUnder(permissionOf, grant) });
  }
  return changes;
}

/** Why a grant does not go on as it is where only this is permitted. */
export function whyUnder(permissionOf: PermissionOf, { key }: Grant): string {
  return permissionOf(key) ? "configuration changed" : "key revoked";
}

/** What the history says of a change, which is made at `atMs`. */
export function eventsOf(
  { grant, left, why }: GrantChange,
  { atMs, healthPort }: { atMs: number; healthPort: number },
): HistoryEvent[] {
  const of = ({ client, address }: Grant) => ({ client, address: formatNetwork(address) });
  if (!left) return [{ ...of(grant), event: "ended", endsAtMs: atMs, why }];
  const events: HistoryEvent[] = [];
  if (left.client !== grant.client) {
    events.push({ ...of(grant), event: "renamed", to: left.client });
  }
  if (subtractPortRanges(grant.ports, left.ports).length > 0) {
    const ports = shownPorts(left.ports, healthPort).join(" ");
    const rest = ports && `, ${ports} left open`;
    events.push({ ...of(left), event: "ended", endsAtMs: atMs, why: `${why}${rest}` });
  } else if (left.endsSteadyMs < grant.endsSteadyMs - 1) {
    events.push({ ...of(left), event: "ended", endsAtMs: left.expiresAtMs, why });
  }
  return events;
}

/**
 * A stored grant as it may go on after a restart, or `undefined`: as {@linkcode narrowGrant} says, for the time that the
 * wall clock leaves it, and never where it would have been opened in the future.
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
  if (stored.openedAtMs > wallMs) return undefined;
  return limitGrant(stored, permission, now, ({ expiresAtMs, endsSteadyMs }) => {
    const steadyLeftMs = sameBoot ? endsSteadyMs - now.steadyMs : Infinity;
    return Math.min(expiresAtMs - wallMs, steadyLeftMs);
  });
}

/**
 * A grant in force as it may go on under another configuration, or `undefined`: only under the same key, only to the
 * ports that are still allowed, for the time that the steady clock leaves it, never for longer or wider than a knock
 * opens now. A client that was renamed keeps what its key has opened.
 */
export function narrowGrant(
  grant: Grant,
  permission: Permission | undefined,
  now: Moment,
): Grant | undefined {
  return limitGrant(grant, permission, now, ({ endsSteadyMs }) => endsSteadyMs - now.steadyMs);
}

function limitGrant(
  { extended, ...grant }: Grant,
  permission: Permission | undefined,
  now: Moment,
  leftOf: (end: Pick<Grant, "expiresAtMs" | "endsSteadyMs">) => number,
): Grant | undefined {
  if (!permission || permission.key !== grant.key) return undefined;
  if (isTooWide(grant.address, permission)) return undefined;
  const ports = intersectPortRanges(grant.ports, permission.ports);
  const still = extended && narrowExtended(extended, permission.caps, { now, leftOf });
  const left: Grant = {
    ...grant,
    client: permission.client,
    ports,
    ...endOf(permission, now, leftOf(grant)),
    ...(still && { extended: still }),
  };
  return ports.length > 0 && lastEndOf(left, "endsSteadyMs") > now.steadyMs ? left : undefined;
}

/** A grant for a network ends if the client's prefix is smaller now: which address was meant is not known any more. */
function isTooWide({ base, length }: Network, { prefix }: Permission): boolean {
  return length < grantedNetwork(base, prefix).length;
}

/** Whether a grant may go on as it is. Rounding of the time left does not make it another. */
function sameGrant(a: Grant, b: Grant): boolean {
  return a.client === b.client && Math.abs(a.endsSteadyMs - b.endsSteadyMs) < 1 &&
    a.ports.map(formatPortRange).join() === b.ports.map(formatPortRange).join() &&
    sameCaps(a.extended, b.extended);
}
