/**
 * What the health port tells: who is let in at the asking address, to what and for how long. As the server writes it
 * and as a client reads it: strictly, since a server's word is outside text to a client.
 */

import { type Address, formatAddress, parseAddress } from "./address.ts";
import { NAME_PATTERN } from "./config/reader.ts";
import type { Grant } from "./grants.ts";
import { formatPortRange, parsePortSpec } from "./ports.ts";

/** A grant, as its holder may know it. */
export interface ReportedGrant {
  readonly client: string;
  /** Such as `22/tcp`. */
  readonly ports: readonly string[];
  readonly openedAtMs: number;
  readonly expiresAtMs: number;
  readonly leftMs: number;
  /** The server's firewall has refused it so far. */
  readonly failed?: true;
}

/** The grants of one address. */
export interface HealthReport {
  readonly address: string;
  /** The server's wall clock, ms since 1970. */
  readonly nowMs: number;
  readonly grants: readonly ReportedGrant[];
}

/** The report for an address; `wallMs` and `steadyMs` are the server's clocks, `refused` what its firewall refused. */
export function reportOn(
  address: Address,
  grants: readonly Grant[],
  { wallMs, steadyMs }: { wallMs: number; steadyMs: number },
  refused: (grant: Grant) => boolean = () => false,
): HealthReport {
  return {
    address: formatAddress(address),
    nowMs: wallMs,
    grants: grants.map((grant) => ({
      client: grant.client,
      ports: grant.ports.map(formatPortRange),
      openedAtMs: grant.openedAtMs,
      expiresAtMs: grant.expiresAtMs,
      leftMs: Math.max(0, Math.round(grant.endsSteadyMs - steadyMs)),
      ...(refused(grant) ? { failed: true } : {}),
    })),
  };
}

/** The report as `status --json` and the health port itself print it. */
export function reportToJson({ address, nowMs, grants }: HealthReport) {
  return {
    address,
    now: isoTime(nowMs),
    grants: grants.map(({ client, ports, openedAtMs, expiresAtMs, leftMs, failed }) => ({
      client,
      ports,
      opened_at: isoTime(openedAtMs),
      expires_at: isoTime(expiresAtMs),
      seconds_left: leftMs / 1000,
      ...(failed ? { failed } : {}),
    })),
  };
}

/** Reads {@linkcode reportToJson}'s shape; `undefined` for anything else. */
export function reportFromJson(text: string): HealthReport | undefined {
  try {
    const { address, now, grants } = JSON.parse(text);
    const parsed = parseAddress(String(address));
    const nowMs = Date.parse(now);
    if (!parsed || Number.isNaN(nowMs) || !Array.isArray(grants)) return undefined;
    const read = grants.map(grantFromJson);
    if (read.some((grant) => grant === undefined)) return undefined;
    return { address: formatAddress(parsed), nowMs, grants: read as ReportedGrant[] };
  } catch {
    return undefined;
  }
}

function grantFromJson(value: Record<string, unknown>): ReportedGrant | undefined {
  const { client, ports, opened_at: opened, expires_at: expires, seconds_left: left, failed } =
    value;
  const [openedAtMs, expiresAtMs] = [Date.parse(String(opened)), Date.parse(String(expires))];
  const leftMs = Math.round(Number(left) * 1000);
  const good = typeof client === "string" && NAME_PATTERN.test(client) && Array.isArray(ports) &&
    ports.every((port) => typeof port === "string" && parsePortSpec(port)) &&
    [openedAtMs, expiresAtMs].every(Number.isFinite) && Number.isSafeInteger(leftMs) && leftMs >= 0;
  if (!good) return undefined;
  return { client, ports, openedAtMs, expiresAtMs, leftMs, ...(failed === true ? { failed } : {}) };
}

function isoTime(atMs: number): string {
  return new Date(atMs).toISOString();
}
