/** The statements that write the state, prepared once for each connection. */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { LAST_OUTCOMES } from "./outcomes.ts";

/** The newest rows of the history that are kept. */
const HISTORY_ROWS = 100_000;

/** What a running server writes, prepared. */
export type Statements = ReturnType<typeof prepareStatements>;

/** Prepares every statement for a connection. */
export function prepareStatements(database: DatabaseSync): Record<
  | "insertNonce"
  | "upsertMark"
  | "deleteMark"
  | "deleteNonces"
  | "upsertGrant"
  | "deleteGrant"
  | "deleteGrants"
  | "upsertLastSeen"
  | "listLastSeen"
  | "deleteLastSeen"
  | "insertHistory"
  | "insertRefusal"
  | "insertOutcome"
  | "settleFailures"
  | "pruneHistory"
  | "pruneRefusals"
  | "pruneOutcomes"
  | "upsertMeta"
  | "begin"
  | "commit",
  StatementSync
> {
  return {
    begin: database.prepare("BEGIN IMMEDIATE"),
    commit: database.prepare("COMMIT"),
    insertNonce: database.prepare(
      "INSERT OR IGNORE INTO nonces (key, nonce, timestamp_ns) VALUES (?, ?, ?)",
    ),
    upsertMark: database.prepare("INSERT OR REPLACE INTO marks (key, timestamp_ns) VALUES (?, ?)"),
    deleteMark: database.prepare("DELETE FROM marks WHERE key = ?"),
    deleteNonces: readingBigints(
      database.prepare(
        "DELETE FROM nonces WHERE key = ? AND timestamp_ns <= ? RETURNING nonce, timestamp_ns",
      ),
    ),
    upsertGrant: database.prepare(
      "INSERT OR REPLACE INTO grants (client, address, key, ports, opened_at_ms, expires_at_ms, ends_steady_ms) " +
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    deleteGrant: database.prepare("DELETE FROM grants WHERE client = ? AND address = ?"),
    deleteGrants: database.prepare("DELETE FROM grants"),
    upsertLastSeen: database.prepare(
      "INSERT OR REPLACE INTO last_seen (client, at_ms) VALUES (?, ?)",
    ),
    listLastSeen: database.prepare("SELECT client FROM last_seen"),
    deleteLastSeen: database.prepare("DELETE FROM last_seen WHERE client = ?"),
    insertHistory: database.prepare(
      "INSERT INTO history (at_ms, event, client, source, address, ports, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    pruneHistory: database.prepare(
      `DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ${HISTORY_ROWS}`,
    ),
    insertRefusal: database.prepare(
      "INSERT INTO refusals (at_ms, client, source, reason, ahead_ms) VALUES (?, ?, ?, ?, ?)",
    ),
    pruneRefusals: database.prepare(
      `DELETE FROM refusals WHERE id <= (SELECT max(id) FROM refusals) - ${HISTORY_ROWS}`,
    ),
    insertOutcome: database.prepare(
      "INSERT INTO outcomes (at_ms, what, client, address, of_ms, ends_at_ms, why) VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    settleFailures: database.prepare(
      "INSERT INTO outcomes (at_ms, what, client, address, of_ms) " +
        `SELECT ?, 'carried_out', client, address, of_ms FROM (${LAST_OUTCOMES}) ` +
        "WHERE what = 'failed' AND (client, address) IN (SELECT client, address FROM grants)",
    ),
    pruneOutcomes: database.prepare(
      `DELETE FROM outcomes WHERE id <= (SELECT max(id) FROM outcomes) - ${HISTORY_ROWS}`,
    ),
    upsertMeta: database.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"),
  };
}

function readingBigints(statement: StatementSync): StatementSync {
  statement.setReadBigInts(true);
  return statement;
}
