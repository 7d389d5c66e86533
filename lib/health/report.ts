/** What the health port tells an address: the grants that it holds. */

import { type Address, formatAddress } from "../values/address.ts";
import type { HealthReport, RecentKnock } from "../values/health_report.ts";
import { openAt } from "../values/extended.ts";
import { type Moment, wallMsOf } from "../values/moment.ts";
import { shownPorts } from "../values/ports.ts";
import { hexToBytes } from "../crypto/keys.ts";
import { fingerprint } from "../crypto/sync.ts";
import type { Grant } from "../grants.ts";

/** What a report takes from the server, beside the grants. */
export interface ReportParts {
  readonly healthPort: number;
  /** Whether the firewall has refused the grant so far. */
  readonly isRefused: (grant: Grant) => boolean;
  /** The latest knocks for the grant, the oldest first. */
  readonly knocksOf: (grant: Grant) => readonly RecentKnock[];
}

/** The report on the grants of an address. What is left of them is measured on the steady clock. */
export function reportOn(
  address: Address,
  grants: readonly Grant[],
  now: Moment,
  { healthPort, isRefused, knocksOf }: ReportParts,
): HealthReport {
  return {
    address: formatAddress(address),
    nowMs: wallMsOf(now),
    grants: grants.map((grant) => {
      const { ports, expiresAtMs } = openAt(grant, wallMsOf(now));
      const activeMs = (grant.extended?.activeUntilMs ?? 0) - wallMsOf(now);
      return {
        client: grant.client,
        fingerprint: fingerprint(hexToBytes(grant.key)),
        ports: shownPorts(ports, healthPort),
        openedAtMs: grant.openedAtMs,
        expiresAtMs,
        leftMs: Math.max(0, Math.round(Math.max(grant.endsSteadyMs - now.steadyMs, activeMs))),
        knocks: knocksOf(grant),
        ...(isRefused(grant) ? { failed: true } : {}),
      };
    }),
  };
}
