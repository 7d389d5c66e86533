/**
 * What of the state goes into a backup, and how it comes into a state directory again.
 *
 * History goes along, when each client was last seen, and what is counted of keys: uses, codes. Grants do not: a restored
 * server opens nothing that was not knocked for since. Nonces do not either, since a floor stands in for them: it is raised above every knock that may have
 * been taken before. Only what lies above it does, which a clock that was ahead has left.
 */

import type { DatabaseSync } from "node:sqlite";
import { dirname, join } from "node:path";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { connectDatabase, exists, isDamage, moveAside } from "./database.ts";
import { diskFault, removeFile } from "./directory.ts";
import { DATABASE_NAME } from "./names.ts";
import { withDatabase } from "./read.ts";
import { clearUnwritten, noteUnwritten } from "./unwritten.ts";

interface Table {
  /** Column -> the SQL that reads it and the SQL that writes it; `undefined`: as it is. */
  readonly columns: Readonly<Record<string, readonly [read: string, write: string] | undefined>>;
  /** `WHERE` and `ORDER BY` of the rows that go along. */
  readonly rows: string;
  /** What happens to a row that is there already. */
  readonly known: string;
}

/** JSON's numbers are too short for ns. */
const TIMESTAMP = ["CAST(timestamp_ns AS TEXT)", "CAST($timestamp_ns AS INTEGER)"] as const;
const KEY_COUNTS = ["used", "step", "wrong", "locked_until_ms"] as const;
const ABOVE_FLOOR = "WHERE timestamp_ns > $floor_ns ORDER BY key, timestamp_ns";

const TABLES: Readonly<Record<string, Table>> = {
  watermarks: {
    columns: { key: undefined, "timestamp_ns": TIMESTAMP },
    rows: ABOVE_FLOOR,
    known:
      "WHERE true ON CONFLICT DO UPDATE SET timestamp_ns = max(timestamp_ns, excluded.timestamp_ns)",
  },
  nonces: {
    columns: {
      key: undefined,
      nonce: ["lower(hex(nonce))", "unhex($nonce)"],
      "timestamp_ns": TIMESTAMP,
    },
    rows: `${ABOVE_FLOOR}, nonce`,
    known: "WHERE true ON CONFLICT DO NOTHING",
  },
  "last_seen": {
    columns: { client: undefined, "at_ms": undefined },
    rows: "ORDER BY client",
    known: "WHERE true ON CONFLICT DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
  },
  keys: {
    columns: Object.fromEntries(["key", ...KEY_COUNTS].map((column) => [column, undefined])),
    rows: "ORDER BY key",
    known: `WHERE true ON CONFLICT DO UPDATE SET ${
      KEY_COUNTS.map((column) => `${column} = max(${column}, excluded.${column})`).join(", ")
    }`,
  },
  history: {
    columns: Object.fromEntries(
      "at_ms event client source address ports expires_at_ms reason ahead_ms failed ended_at_ms ended_why renamed_to"
        .split(" ").map((column) => [column, undefined]),
    ),
    rows: "ORDER BY at_ms, id",
    known: "WHERE NOT EXISTS (SELECT 1 FROM history WHERE address = $address AND at_ms = $at_ms " +
      "AND client = $client AND event = $event AND source = $source)",
  },
};

/** A table's rows, as JSON has them. */
type Rows = readonly Readonly<Record<string, string | number | null>>[];

/**
 * The state in `dir` as JSON; `undefined` where there is none. `floorNs`: the floor that a restored server has at least.
 * Throws `OpenmeError`, code `STATE`; {@linkcode isDamage} tells of its cause whether the database is damaged.
 */
export function exportState(dir: string, floorNs: bigint): string | undefined {
  return withDatabase(dir, undefined, (database) => {
    const state: Record<string, unknown> = {};
    database.exec("BEGIN"); // all tables of one moment
    const floor = database.prepare("SELECT value FROM meta WHERE name = 'floor_ns'").get();
    if (floor && BigInt(String(floor["value"])) > floorNs) state["floor_ns"] = floor["value"];
    for (const [name, { columns, rows }] of Object.entries(TABLES)) {
      const read = Object.entries(columns).map(([column, sql]) =>
        `${sql?.[0] ?? column} AS ${column}`
      );
      const statement = database.prepare(`SELECT ${read.join(", ")} FROM ${name} ${rows}`);
      state[name] = rows.includes("$floor_ns")
        ? statement.all({ "floor_ns": floorNs })
        : statement.all();
    }
    return JSON.stringify(state, undefined, 1) + "\n";
  });
}

/**
 * Puts a state that {@linkcode exportState} gave into `dir`, beside what is there, and raises the floor; all of it or
 * nothing. No `serve` may run there. Returns where a damaged database was moved to. Throws `OpenmeError`, code `STATE`.
 */
export function importState(
  dir: string,
  state: string | undefined,
  { floorNs, nowNs }: { floorNs: bigint; nowNs: bigint },
): { readonly movedTo?: string | undefined } {
  const path = join(dir, DATABASE_NAME);
  const isNew = !exists(path);
  let database: DatabaseSync | undefined;
  let isDone = false;
  try {
    const connected = connect(path, nowNs);
    database = connected.database;
    database.exec("BEGIN IMMEDIATE");
    const tables = JSON.parse(state ?? "{}") as Record<string, Rows | string | undefined>;
    for (const [name, table] of Object.entries(TABLES)) {
      insert(database, name, table, tables[name] as Rows | undefined ?? []);
    }
    raiseFloor(database, floorNs);
    if (tables["floor_ns"] !== undefined) raiseFloor(database, BigInt(String(tables["floor_ns"])));
    database.exec("COMMIT");
    isDone = true;
    return { movedTo: connected.movedTo };
  } catch (cause) {
    if (cause instanceof OpenmeError) throw cause; // a newer openme made the database
    const hint = diskFault(dir) === undefined
      ? undefined
      : "free some space there, or see what the kernel says of the disk: dmesg";
    throw new OpenmeError(
      "STATE",
      `cannot write the state into ${quote(dir, 1000)}: ${messageOf(cause)}`,
      { hint, cause },
    );
  } finally {
    database?.close(); // takes back what is not committed
    if (isDone) clearUnwritten(dir);
    else if (isNew) ["", "-wal", "-shm"].forEach((suffix) => removeFile(path + suffix));
  }
}

/** Opens the database, or makes it; one that is damaged is moved aside, as at a start. */
function connect(path: string, nowNs: bigint): { database: DatabaseSync; movedTo?: string } {
  try {
    return { database: connectDatabase(path) };
  } catch (cause) {
    if (!isDamage(cause)) throw cause;
    noteUnwritten(dirname(path)); // until the floor is on disk, a start must not take the new one for a first one
    const movedTo = moveAside(path, nowNs);
    return { database: connectDatabase(path), movedTo };
  }
}

function insert(database: DatabaseSync, name: string, { columns, known }: Table, rows: Rows): void {
  const names = Object.keys(columns);
  const values = names.map((column) => columns[column]?.[1] ?? `$${column}`);
  const statement = database.prepare(
    `INSERT INTO ${name} (${names.join(", ")}) SELECT ${values.join(", ")} ${known}`,
  );
  for (const row of rows) {
    statement.run(Object.fromEntries(names.map((column) => [column, row[column]!])));
  }
}

function raiseFloor(database: DatabaseSync, floorNs: bigint): void {
  database.prepare(
    "INSERT INTO meta (name, value) VALUES ('floor_ns', ?) ON CONFLICT DO UPDATE SET value = excluded.value " +
      "WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER)",
  ).run(String(floorNs));
}

/**
 * The floor of a server that is restored from a backup: above every knock that can have been taken before, one just now
 * included, which may be dated a window ahead. ns since 1970.
 */
export function floorOfRestore(
  { madeAtMs, nowMs, replayWindowMs }: { madeAtMs: number; nowMs: number; replayWindowMs: number },
): bigint {
  return BigInt(Math.max(madeAtMs, nowMs) + replayWindowMs) * 1_000_000n;
}
