/** The statements that write the state, prepared once for each connection. */

import type { DatabaseSync, StatementSync } from "node:sqlite";

/** The newest rows of the history that are kept. */
const HISTORY_ROWS = 100_000;

const SQL = {
  begin: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  insertNonce: "INSERT OR IGNORE INTO nonces (key, nonce, timestamp_ns) VALUES (?, ?, ?)",
  deleteNonces: "DELETE FROM nonces WHERE key = ? AND timestamp_ns <= ?",
  deleteAllNonces: "DELETE FROM nonces",
  upsertWatermark: "INSERT OR REPLACE INTO watermarks (key, timestamp_ns) VALUES (?, ?)",
  upsertGrant:
    "INSERT OR REPLACE INTO grants (client, address, key, ports, opened_at_ms, expires_at_ms, ends_steady_ms, extended) " +
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  deleteGrant: "DELETE FROM grants WHERE client = ? AND address = ?",
  deleteAllGrants: "DELETE FROM grants",
  upsertKey: "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)", // as in SCHEMA
  upsertLastSeen: "INSERT OR REPLACE INTO last_seen (client, at_ms) VALUES (?, ?)",
  insertKnock:
    "INSERT INTO history (at_ms, event, client, source, address, ports, expires_at_ms) " +
    "VALUES (?, ?, ?, ?, ?, ?, ?)",
  insertRefusal: "INSERT INTO history (at_ms, event, client, source, reason, ahead_ms) " +
    "VALUES (?, 'refused', ?, ?, ?, ?)",
  setFailed: "UPDATE history SET failed = ?1 WHERE client = ?2 AND address = ?3 AND at_ms = ?4",
  setEnded: "UPDATE history SET ended_at_ms = ?1, ended_why = ?2 " +
    `WHERE id = ${latestRowOf({ client: "?3", address: "?4" })}`,
  setRenamed: "UPDATE history SET renamed_to = ?1 " +
    `WHERE id = ${latestRowOf({ client: "?2", address: "?3" })}`,
  settleFailures: "UPDATE history SET failed = 0 WHERE failed = 1 AND id IN " +
    `(SELECT ${latestRowOf({ client: "grants.client", address: "grants.address" })} FROM grants)`,
  pruneHistory: `DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ${HISTORY_ROWS}`,
  upsertMeta: "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
} as const;

/** What a running server writes, prepared. */
export type Statements = Readonly<Record<keyof typeof SQL, StatementSync>>;

/** Prepares every statement; throws where the tables are not those of {@linkcode SCHEMA}. */
export function prepareStatements(database: DatabaseSync): Statements {
  const prepared = Object.entries(SQL).map(([name, sql]) => [name, database.prepare(sql)]);
  return Object.fromEntries(prepared) as Statements;
}

/** SQL for the id of the newest row of a grant, under the name that its client has now. */
export function latestRowOf({ client, address }: { client: string; address: string }): string {
  return `(SELECT id FROM history AS knock WHERE knock.address = ${address}
    AND coalesce(knock.renamed_to, knock.client) = ${client} ORDER BY at_ms DESC, id DESC LIMIT 1)`;
}
