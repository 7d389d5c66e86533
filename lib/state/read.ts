/**
 * What commands that only look may know: read from the database, whether `serve` runs or not.
 */

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf, OpenmeError } from "../values/errors.ts";
import type { Grant } from "../grants.ts";
import { formatNetwork } from "../values/network.ts";
import { quote } from "../values/text.ts";
import { DATABASE_NAME } from "./names.ts";
import { keyOf, readFailures } from "./outcomes.ts";
import { grantFromRow, numberOf, type Row, textOf } from "./schema.ts";

/** The state at one moment. */
export interface Snapshot {
  /** Grants that had not ended at that moment; none after a stop that took them out of the firewall. */
  readonly grants: readonly Grant[];
  /** Those of them that the firewall has refused so far. */
  readonly refused: ReadonlySet<Grant>;
  /** When a knock of each client was last accepted, ms since 1970. */
  readonly lastSeenMs: ReadonlyMap<string, number>;
}

/** Reads the state in `dir`. A directory without a database is an empty state. */
export function readSnapshot(dir: string, nowMs: number): Snapshot {
  const nothing: Snapshot = { grants: [], refused: new Set(), lastSeenMs: new Map() };
  return withDatabase(dir, nothing, (database) => {
    const rows = (sql: string) => database.prepare(sql).all() as Row[];
    const meta = rows("SELECT name, value FROM meta").filter((row) => row["value"] === "1")
      .map((row) => row["name"]);
    const grants = meta.includes("clean_stop") && !meta.includes("grants_stand")
      ? []
      : rows("SELECT * FROM grants ORDER BY opened_at_ms, client, address").map(grantFromRow)
        .filter(({ expiresAtMs }) => expiresAtMs > nowMs);
    const failures = grants.length === 0 ? new Map() : readFailures(database);
    return {
      grants,
      refused: new Set(grants.filter(({ client, address, openedAtMs }) => {
        const failedAtMs = failures.get(keyOf({ client, address: formatNetwork(address) }));
        return failedAtMs !== undefined && failedAtMs >= Math.trunc(openedAtMs);
      })),
      lastSeenMs: new Map(
        rows("SELECT client, at_ms FROM last_seen ORDER BY client")
          .map((row) => [textOf(row, "client"), numberOf(row, "at_ms")]),
      ),
    };
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
    {
      hint: "it belongs to the user that runs openme serve: try sudo",
      cause,
    },
  );
}
