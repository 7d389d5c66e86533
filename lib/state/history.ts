/** The history as it is on disk: knocks that were taken, and refusals of registered clients. */

import type { PortRange } from "../values/ports.ts";
import { addOutcomes } from "./outcomes.ts";
import { numberOf, portsOf, type Row, textOf } from "./schema.ts";
import { withDatabase } from "./read.ts";

/** One thing that happened. */
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
  readonly failed?: boolean;
  /** When it ended before its time, and why. */
  readonly ended?: { readonly atMs: number; readonly why: string };
}

/** What to look for. */
export interface HistoryQuery {
  readonly client: string | undefined;
  readonly sinceMs: number | undefined;
  /** The newest so many. */
  readonly limit: number;
}

const GRANTED = `SELECT 0 AS kind, id, at_ms, event, client, source, address, ports, expires_at_ms,
  NULL AS reason, NULL AS ahead_ms FROM history`;
const REFUSED =
  `SELECT 1, id, at_ms, 'refused', client, source, '', '', NULL, reason, ahead_ms FROM refusals`;

/** The entries, the oldest first. A directory without a database has none. Throws `OpenmeError`, code `STATE`. */
export function readHistory(dir: string, { client, sinceMs, limit }: HistoryQuery): HistoryEntry[] {
  return withDatabase(dir, [], (database) => {
    const rows = database.prepare(
      `SELECT * FROM (${GRANTED} UNION ALL ${REFUSED})
      WHERE (?1 IS NULL OR client = ?1) AND at_ms >= ?2 ORDER BY at_ms DESC, kind DESC, id DESC LIMIT ?3`,
    ).all(client ?? null, Math.trunc(sinceMs ?? 0), limit) as Row[];
    const entries = rows.map(entryFromRow).reverse();
    addOutcomes(database, entries.filter(({ reason }) => reason === undefined));
    return entries;
  });
}

function entryFromRow(row: Row): HistoryEntry {
  const optional = <T>(column: string, read: (row: Row, column: string) => T) =>
    row[column] === null || row[column] === undefined ? undefined : read(row, column);
  return {
    atMs: numberOf(row, "at_ms"),
    event: textOf(row, "event"),
    client: textOf(row, "client"),
    source: textOf(row, "source"),
    address: textOf(row, "address"),
    ports: portsOf(row),
    expiresAtMs: optional("expires_at_ms", numberOf),
    reason: optional("reason", textOf),
    aheadMs: optional("ahead_ms", numberOf),
  };
}
