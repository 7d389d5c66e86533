/**
 * The health report: the grants of the asking address. The server writes it; the client reads it strictly, since what a
 * server says is outside text to a client.
 */

import { formatAddress, parseAddress } from "./address.ts";
import { isoTime } from "./moment.ts";
import { NAME_PATTERN } from "./name.ts";
import { parsePortSpec } from "./ports.ts";

/** `pending`: accepted, the firewall has not answered yet. */
export type KnockState = "pending" | "open" | "refused";

/** One accepted knock. */
export interface RecentKnock {
  /** 16 hex digits. */
  readonly id: string;
  readonly state: KnockState;
}

/** A grant, as its holder is told. */
export interface ReportedGrant {
  readonly client: string;
  /** Of the client's key. */
  readonly fingerprint: string;
  /** Such as `22/tcp`. */
  readonly ports: readonly string[];
  readonly openedAtMs: number;
  readonly expiresAtMs: number;
  readonly leftMs: number;
  /** Its latest knocks, the oldest first; none from before the server started. */
  readonly knocks: readonly RecentKnock[];
  /** Whether the server's firewall has refused it so far. */
  readonly failed?: true;
}

/** The grants of one address. */
export interface HealthReport {
  readonly address: string;
  /** The server's wall clock, ms since 1970. */
  readonly nowMs: number;
  readonly grants: readonly ReportedGrant[];
}

/** The report as `status --json` and the health port itself print it. */
export function reportToJson({ address, nowMs, grants }: HealthReport) {
  return {
    address,
    now: isoTime(nowMs),
    grants: grants.map((
      { client, fingerprint, ports, openedAtMs, expiresAtMs, leftMs, knocks, failed },
    ) => ({
      client,
      fingerprint,
      ports,
      opened_at: isoTime(openedAtMs),
      expires_at: isoTime(expiresAtMs),
      seconds_left: leftMs / 1000,
      knocks,
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
  const { client, fingerprint, ports, opened_at: opened, expires_at: expires, failed } = value;
  const { seconds_left: left, knocks } = value;
  const [openedAtMs, expiresAtMs] = [Date.parse(String(opened)), Date.parse(String(expires))];
  const leftMs = Math.round(Number(left) * 1000);
  const good = typeof client === "string" && NAME_PATTERN.test(client) && Array.isArray(ports) &&
    ports.every((port) => typeof port === "string" && parsePortSpec(port)) &&
    [openedAtMs, expiresAtMs].every(Number.isFinite) && isSpan(leftMs) &&
    isId(fingerprint) && Array.isArray(knocks) && knocks.every(isKnock);
  if (!good) return undefined;
  return {
    client,
    fingerprint: String(fingerprint),
    ports,
    openedAtMs,
    expiresAtMs,
    leftMs,
    knocks: knocks.map(({ id, state }) => ({ id, state })),
    ...(failed === true ? { failed } : {}),
  };
}

function isKnock(value: unknown): value is RecentKnock {
  const { id, state } = (value ?? {}) as Record<string, unknown>;
  return isId(id) && ["pending", "open", "refused"].includes(state as string);
}

/** 8 bytes in hex. */
function isId(value: unknown): boolean {
  return typeof value === "string" && /^[0-9a-f]{16}$/.test(value);
}

function isSpan(ms: number): boolean {
  return Number.isSafeInteger(ms) && ms >= 0;
}
