/** What several grants open together, as a firewall needs it: disjoint ranges of ports, each with the time it has left. */

import type { Moment } from "./moment.ts";
import { comparePortRanges, type PortRange } from "./ports.ts";

/** A range that may be reached for `timeoutMs` from now. */
export interface Opening extends PortRange {
  readonly timeoutMs: number;
  /** Only while its address is active: traffic of established connections says so. */
  readonly whileActive?: true;
}

/**
 * What grants open together: disjoint ranges, each open as long as the longest grant that covers it, so that no
 * client's end closes what another still holds.
 */
export function disjointOpenings(
  grants: readonly { readonly ports: readonly PortRange[]; readonly endsSteadyMs: number }[],
  now: Moment,
): Opening[] {
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
