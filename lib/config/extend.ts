/**
 * `extend_while_used`: which ports of a client stay open while they are used, and what that makes of its grants. Pure.
 * docs/configuration.md, "Open while used".
 */

import type { Cap, Extended } from "../values/extended.ts";
import { type Moment, wallMsOf } from "../values/moment.ts";
import {
  formatPortRange,
  intersectPortRanges,
  mergePortRanges,
  type PortRange,
  subtractPortRanges,
} from "../values/ports.ts";
import { ConfigError, type Field } from "./fields.ts";

/** How long a grant may last at most: a day, whatever keeps it open. */
export const LONGEST_GRANT_MS = 86_400_000;

/** Ports that stay open while they are used. */
export interface Extension {
  /** Disjoint. */
  readonly ports: readonly PortRange[];
  /** For how long from the knock at most. */
  readonly mostMs: number;
}

/** Of nearly all clients: the same object, so that they are quickly compared. */
export const NO_EXTENSIONS: readonly Extension[] = [];

/** Whether this firewall lets traffic keep a grant open. */
export function canExtend(firewall: string): boolean {
  return firewall === "nft";
}

/** Throws where a firewall is named that never can what the clients ask for. */
export function requireExtending(
  { firewall, clients }: {
    readonly firewall: string;
    readonly clients: readonly { readonly extensions: readonly Extension[] }[];
  },
): void {
  if (firewall === "auto" || canExtend(firewall)) return;
  if (clients.every(({ extensions }) => extensions.length === 0)) return;
  throw new ConfigError(
    "server.firewall",
    `expected nft, got ${firewall}: with it no traffic keeps a grant open (extend_while_used)`,
    "set firewall: nft, or take extend_while_used out: then a grant lasts as long as its knock opens",
  );
}

/** Reads `extend_while_used` of a group. */
export function readMost(field: Field): number {
  return field.durationMs(1000, LONGEST_GRANT_MS);
}

/** Reads `extend_while_used` of a client, whose `off` is 0. */
export function readOwnMost(field: Field): number {
  return field.value === "off" ? 0 : readMost(field);
}

/**
 * Which of a client's ports stay open while they are used: all of them where its entry says so, otherwise those of its
 * groups that do. Where several of them have a port, the shortest time holds. Their ports are disjoint.
 */
export function extensionsOf(
  ports: readonly PortRange[],
  ownMostMs: number | undefined,
  groups: readonly Extension[],
): readonly Extension[] {
  if (ownMostMs === 0) return NO_EXTENSIONS;
  if (ownMostMs !== undefined) return [{ ports, mostMs: ownMostMs }];
  const extensions: Extension[] = [];
  let left = ports;
  for (const group of groups.toSorted((a, b) => a.mostMs - b.mostMs)) {
    const shared = intersectPortRanges(left, group.ports);
    if (shared.length > 0) extensions.push({ ports: shared, mostMs: group.mostMs });
    left = subtractPortRanges(left, shared);
  }
  return extensions.length > 0 ? extensions : NO_EXTENSIONS;
}

export function sameExtensions(a: readonly Extension[], b: readonly Extension[]): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/** What a knock of now lets stay open while it is used, at most until `expiresAtMs`. */
export function capsFrom(
  extensions: readonly Extension[],
  now: Moment,
  expiresAtMs = Infinity,
): readonly Cap[] | undefined {
  if (extensions.length === 0) return undefined;
  const wallMs = wallMsOf(now);
  return extensions.map(({ ports, mostMs }) => {
    const leftMs = Math.min(mostMs, expiresAtMs - wallMs);
    return {
      ports: mergePortRanges(ports),
      expiresAtMs: wallMs + leftMs,
      endsSteadyMs: now.steadyMs + leftMs,
    };
  });
}

/** The same caps, each so much earlier. */
export function earlier(
  caps: readonly Cap[] | undefined,
  byMs: number,
): readonly Cap[] | undefined {
  return caps?.map(({ ports, expiresAtMs, endsSteadyMs }) => ({
    ports,
    expiresAtMs: expiresAtMs - byMs,
    endsSteadyMs: endsSteadyMs - byMs,
  }));
}

/** What may stay open of a grant where a knock of now has these caps; `leftOf` says how much is left of an old one. */
export function narrowExtended(
  { caps, activeUntilMs }: Extended,
  permitted: readonly Cap[] | undefined,
  { now, leftOf }: { readonly now: Moment; readonly leftOf: (cap: Cap) => number },
): Extended | undefined {
  const left = caps.flatMap((cap) =>
    (permitted ?? []).flatMap((each) => {
      const overMs = Math.max(0, each.endsSteadyMs - now.steadyMs - leftOf(cap));
      return earlier([{ ...each, ports: intersectPortRanges(cap.ports, each.ports) }], overMs)!;
    })
  ).filter(({ ports, endsSteadyMs }) => ports.length > 0 && endsSteadyMs > now.steadyMs);
  return left.length > 0 ? { caps: left, activeUntilMs } : undefined;
}

/** Whether the same stays open for the same time. Rounding does not make it another. */
export function sameCaps(a: Extended | undefined, b: Extended | undefined): boolean {
  if (a === b) return true;
  if (a?.caps.length !== b?.caps.length) return false;
  return a!.caps.every(({ ports, endsSteadyMs }, i) => {
    const other = b!.caps[i]!;
    return Math.abs(endsSteadyMs - other.endsSteadyMs) < 1 &&
      ports.map(formatPortRange).join() === other.ports.map(formatPortRange).join();
  });
}
