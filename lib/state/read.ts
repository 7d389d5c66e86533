/** What commands that only look read from the database, whether `serve` runs or not. */

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { type Grant, lastEndOf } from "../grants.ts";
import { type Network, overlap } from "../values/network.ts";
import type { PortRange } from "../values/ports.ts";
import { quote } from "../values/text.ts";
import { DATABASE_NAME } from "./names.ts";
import { addressFrom, GRANT_COLUMNS, grantFromRow, type GrantRow, portsFrom } from "./schema.ts";
import { latestRowOf } from "./statements.ts";

/** The state at one moment. */
export interface Snapshot {
  /** Grants that had not ended at that moment; none after a stop that took them out of the firewall. */
  readonly grants: readonly Grant[];
  /** Those of them that the firewall has refused so far. */
  readonly refused: ReadonlySet<Grant>;
  /** When a knock of each client was last accepted, ms since 1970. */
  readonly lastSeenMs: ReadonlyMap<string, number>;
  /** How often each key, in hex, was used whose uses are counted. */
  readonly uses: ReadonlyMap<string, number>;
}

/** Reads the state in `dir`. A directory without a database is an empty state. */
export function readSnapshot(dir: string, nowMs: number): Snapshot {
  const refused = new Set<Grant>();
  const nothing: Snapshot = { grants: [], refused, lastSeenMs: new Map(), uses: new Map() };
  return withDatabase(dir, nothing, (database) => {
    const meta = database.prepare("SELECT name FROM meta WHERE value = '1'").all()
      .map(({ name }) => name);
    const isEmpty = meta.includes("clean_stop") && !meta.includes("grants_stand");
    const rows = isEmpty ? [] : database.prepare(GRANTS).all();
    const grants = (rows as (GrantRow & { failed: number | null })[]).map(({ failed, ...row }) => {
      const grant = grantFromRow(row);
      if (failed) refused.add(grant);
      return grant;
    }).filter((grant) => lastEndOf(grant, "expiresAtMs") > nowMs);
    const seen = database.prepare("SELECT client, at_ms AS atMs FROM last_seen ORDER BY client")
      .all() as { client: string; atMs: number }[];
    const uses = database.prepare("SELECT key, used FROM keys").all() as {
      key: string;
      used: number;
    }[];
    return {
      grants,
      refused,
      uses: new Map(uses.map(({ key, used }) => [key, used])),
      lastSeenMs: new Map(seen.map(({ client, atMs }) => [client, atMs])),
    };
  });
}

/** All grants, with whether the firewall refused the latest knock of each. */
const GRANTS = `SELECT ${GRANT_COLUMNS}, (SELECT failed FROM history WHERE id = ${
  latestRowOf({ client: "grants.client", address: "grants.address" })
} AND at_ms >= CAST(opened_at_ms AS INTEGER)) AS failed
  FROM grants ORDER BY opened_at_ms, client, address`;

/** One knock in the history. */
export interface HistoryEntry {
  readonly atMs: number;
  readonly event: string;
  readonly client: string;
  /** Where the knock came from. */
  readonly source: string;
  /** Who was let in; empty for a refusal. */
  readonly address: string;
  /** The health port included. */
  readonly ports: readonly PortRange[];
  readonly expiresAtMs: number | undefined;
  /** Why it was refused. */
  readonly reason: string | undefined;
  /** How far the client's clock was ahead, where that was why. */
  readonly aheadMs: number | undefined;
  /** Whether the firewall refused what the knock opened. */
  readonly failed: boolean;
  /** When the grant ended before its time, and why. */
  readonly ended: { readonly atMs: number; readonly why: string } | undefined;
}

/** What to look for. */
export interface HistoryQuery {
  readonly client: string | undefined;
  readonly sinceMs: number | undefined;
  /** The newest so many. */
  readonly limit: number;
}

/** The entries, the oldest first. A directory without a database has none. Throws `OpenmeError`, code `STATE`. */
export function readHistory(dir: string, { client, sinceMs, limit }: HistoryQuery): HistoryEntry[] {
  return withDatabase(dir, [], (database) => {
    const rows = database.prepare(
      `SELECT at_ms AS atMs, event, client, source, address, ports, expires_at_ms AS expiresAtMs,
      reason, ahead_ms AS aheadMs, failed, ended_at_ms AS endedAtMs, ended_why AS endedWhy
      FROM history WHERE (?1 IS NULL OR client = ?1) AND at_ms >= ?2
      ORDER BY at_ms DESC, id DESC LIMIT ?3`,
    ).all(client ?? null, Math.trunc(sinceMs ?? 0), limit) as unknown as HistoryRow[];
    return rows.map(entryFromRow).reverse();
  });
}

type HistoryRow =
  & Pick<HistoryEntry, "atMs" | "event" | "client" | "source" | "address">
  & { readonly ports: string; readonly failed: number; readonly endedAtMs: number | null }
  & Readonly<Record<"reason" | "endedWhy", string | null>>
  & Readonly<Record<"expiresAtMs" | "aheadMs", number | null>>;

function entryFromRow({ endedAtMs, endedWhy, ...row }: HistoryRow): HistoryEntry {
  return {
    ...row,
    ports: portsFrom(row.ports),
    expiresAtMs: row.expiresAtMs ?? undefined,
    reason: row.reason ?? undefined,
    aheadMs: row.aheadMs ?? undefined,
    failed: row.failed === 1,
    ended: endedAtMs === null ? undefined : { atMs: endedAtMs, why: endedWhy ?? "" },
  };
}

/** A client, an address or network that was opened for it, and what was opened. */
export interface Access {
  readonly client: string;
  readonly address: Network;
  readonly ports: readonly PortRange[];
}

/** Whose accesses are asked for: a client's, those that overlap a network, or all. */
export interface Whose {
  readonly client?: string;
  readonly address?: Network;
}

/**
 * Every access in the history: a connection lives on after its grant has ended, and a command that cuts it must know
 * where to look.
 */
export function readAccesses(dir: string, { client, address }: Whose): Access[] {
  return withDatabase(dir, [], (database) => {
    const rows = database.prepare(
      "SELECT DISTINCT client, address, ports FROM history WHERE event IN ('granted', 'renewed') " +
        "AND (?1 IS NULL OR client = ?1)",
    ).all(client ?? null) as Record<"client" | "address" | "ports", string>[];
    return rows.map((row) => ({
      client: row.client,
      address: addressFrom(row.address),
      ports: portsFrom(row.ports),
    })).filter((access) => !address || overlap(access.address, address));
  });
}

/** Reads the database in `dir`; gives `absent` where there is none. Throws `OpenmeError`, code `STATE`. */
export function withDatabase<T>(dir: string, absent: T, read: (database: DatabaseSync) => T): T {
  const path = join(dir, DATABASE_NAME);
  try {
    Deno.statSync(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return absent;
    throw readError(path, cause);
  }
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { readOnly: true });
    database.exec("PRAGMA busy_timeout = 1000");
    return read(database);
  } catch (cause) {
    throw readError(path, cause);
  } finally {
    database?.close();
  }
}

function readError(path: string, cause: unknown): OpenmeError {
  return new OpenmeError(
    "STATE",
    `cannot read the state database ${quote(path, 1000)}: ${messageOf(cause)}`,
    { hint: "it belongs to the user that runs openme serve: try sudo", cause },
  );
}
