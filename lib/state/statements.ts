/** The statements that write the state, prepared once for each connection. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { LAST_OUTCOMES } from "./outcomes.ts";

/** The newest rows of the history that are kept. */
const HISTORY_ROWS = 100_000;

const SQL = {
  begin: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  insertNonce: "INSERT OR IGNORE INTO nonces (key, nonce, timestamp_ns) VALUES (?, ?, ?)",
  deleteNonces: "DELETE FROM nonces WHERE key = ? AND timestamp_ns <= ?",
  deleteAllNonces: "DELETE FROM nonces",
  upsertMark: "INSERT OR REPLACE INTO marks (key, timestamp_ns) VALUES (?, ?)",
  upsertGrant:
    "INSERT OR REPLACE INTO grants (client, address, key, ports, opened_at_ms, expires_at_ms, ends_steady_ms) " +
    "VALUES (?, ?, ?, ?, ?, ?, ?)",
  deleteGrant: "DELETE FROM grants WHERE client = ? AND address = ?",
  deleteAllGrants: "DELETE FROM grants",
  upsertLastSeen: "INSERT OR REPLACE INTO last_seen (client, at_ms) VALUES (?, ?)",
  insertHistory:
    "INSERT INTO history (at_ms, event, client, source, address, ports, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
  pruneHistory: `DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ${HISTORY_ROWS}`,
  insertRefusal:
    "INSERT INTO refusals (at_ms, client, source, reason, ahead_ms) VALUES (?, ?, ?, ?, ?)",
  pruneRefusals:
    `DELETE FROM refusals WHERE id <= (SELECT max(id) FROM refusals) - ${HISTORY_ROWS}`,
  insertOutcome:
    "INSERT INTO outcomes (at_ms, what, client, address, of_ms, ends_at_ms, why) VALUES (?, ?, ?, ?, ?, ?, ?)",
  settleFailures: "INSERT INTO outcomes (at_ms, what, client, address, of_ms) " +
    `SELECT ?, 'carried_out', client, address, of_ms FROM (${LAST_OUTCOMES}) ` +
    "WHERE what = 'failed' AND (client, address) IN (SELECT client, address FROM grants)",
  pruneOutcomes:
    `DELETE FROM outcomes WHERE id <= (SELECT max(id) FROM outcomes) - ${HISTORY_ROWS}`,
  upsertMeta: "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
} as const;

/** What a running server writes, prepared. */
export type Statements = Readonly<Record<keyof typeof SQL, StatementSync>>;

/** Prepares every statement; throws where the tables are not those of {@linkcode SCHEMA}. */
export function prepareStatements(database: DatabaseSync): Statements {
  const prepared = Object.entries(SQL).map(([name, sql]) => [name, database.prepare(sql)]);
  return Object.fromEntries(prepared) as Statements;
}
