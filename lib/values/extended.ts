/** What traffic of established connections keeps open of a grant: docs/firewalls.md, "Open while used". */

import type { PortRange } from "./ports.ts";

/** Ports that stay open while they are used. */
export interface Cap {
  /** Disjoint. */
  readonly ports: readonly PortRange[];
  /** Until when at most: wall clock, ms since 1970. */
  readonly expiresAtMs: number;
  /** The same on the steady clock, which decides. */
  readonly endsSteadyMs: number;
}

/** All that stays open of one grant while it is used. */
export interface Extended {
  /** Of different ports. */
  readonly caps: readonly Cap[];
  /** Until when traffic keeps it open, as the firewall last said: wall clock, ms since 1970. For people. */
  readonly activeUntilMs: number;
}

/** What is open of a grant, and until when: by its knock or, after that, by traffic. In the past: nothing is now. */
export function openAt(
  { ports, expiresAtMs, extended }: Pick<Cap, "ports" | "expiresAtMs"> & {
    readonly extended?: Extended | undefined;
  },
  nowMs: number,
): { readonly ports: readonly PortRange[]; readonly expiresAtMs: number } {
  if (!extended) return { ports, expiresAtMs };
  return {
    ports: expiresAtMs > nowMs ? ports : extended.caps.flatMap((cap) => cap.ports),
    expiresAtMs: Math.max(expiresAtMs, extended.activeUntilMs),
  };
}
