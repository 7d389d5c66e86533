/**
 * The database file itself: opened, held against the tables that openme makes, read whole, or moved aside. Either all of
 * it can be believed or nothing is.
 */

import { DatabaseSync } from "node:sqlite";
import { messageOf, OpenmeError } from "../values/errors.ts";
import type { Grant } from "../grants.ts";
import { quote } from "../values/text.ts";
import {
  bigintOf,
  bytesOf,
  DamagedStateError,
  grantFromRow,
  type Row,
  SCHEMA,
  SCHEMA_VERSION,
  textOf,
  UPGRADES,
} from "./schema.ts";
import { readSeal, type Seal } from "./sealed_rows.ts";

/** Every SQLite database begins with a header of this size; what is shorter has been cut off. */
const HEADER_SIZE = 100;
/** The place in the header of the format's version for who writes: 1, or 2 with a write-ahead log. */
const WRITE_VERSION = 18;

/** The row of `meta` with the plan of the guard. */
export const GUARD = "guard";

/** Everything of a database that a start needs. */
export interface StoredState {
  readonly nonces: readonly { key: string; nonce: Uint8Array; timestampNs: bigint }[];
  readonly marks: readonly { key: string; timestampNs: bigint }[];
  readonly grants: readonly Grant[];
  readonly floorNs: bigint | undefined;
  /** The boot in which it was last in use; `undefined` for a new one. */
  readonly bootId: string | undefined;
  readonly cleanStop: boolean;
  /** Whether the firewall has kept the grants after that stop. */
  readonly grantsStand: boolean;
  /** The plan of the guard that was confirmed last, as text; "" where nothing is guarded. */
  readonly guard: string;
  /** What of it is under the digest. */
  readonly seal: Seal;
}

/**
 * Opens the database, or makes it. Throws {@linkcode DamagedStateError} or SQLite's own error where its content is wrong
 * (see {@linkcode isDamage}), `OpenmeError` where a newer openme made it.
 */
export function connectDatabase(path: string): DatabaseSync {
  const size = sizeOf(path);
  if (size !== undefined) requireHeader(path, size);
  const database = new DatabaseSync(path);
  try {
    database.exec(
      "PRAGMA busy_timeout = 1000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
    );
    // A checkpoint waits for the disk, and knocks should not: `tend` makes one a minute, this is only the bound.
    database.exec("PRAGMA wal_autocheckpoint = 8000");
    if (size === undefined) database.exec(`BEGIN; ${SCHEMA} COMMIT`);
    upgrade(database);
    requireSchema(database, path);
    return database;
  } catch (cause) {
    database.close();
    throw cause;
  }
}

/** Opens a database of this version only to read it, where nothing can be written; `undefined` where that cannot be. */
export function connectToRead(path: string): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { readOnly: true });
    requireSchema(database, path);
    return database;
  } catch {
    database?.close();
    return undefined;
  }
}

/**
 * Reads all of it; throws as {@linkcode connectDatabase} does where any of it is wrong. `sealed`: whether its rows must
 * be those that its digest says.
 */
export function readDatabase(
  database: DatabaseSync,
  { sealed }: { sealed: boolean },
): StoredState {
  const integrity = database.prepare("PRAGMA quick_check(1)").get() as Row | undefined;
  if (integrity?.["quick_check"] !== "ok") {
    throw new DamagedStateError(String(integrity?.["quick_check"]));
  }
  const rows = (sql: string) => {
    const statement = database.prepare(sql);
    statement.setReadBigInts(true);
    return statement.all() as Row[];
  };
  const tables = {
    nonces: rows("SELECT key, nonce, timestamp_ns FROM nonces ORDER BY key, timestamp_ns"),
    marks: rows("SELECT key, timestamp_ns FROM marks"),
    grants: rows("SELECT * FROM grants"),
    meta: rows("SELECT name, value FROM meta"),
  };
  const seal = readSeal(tables, { expected: sealed });
  const meta = new Map(
    tables.meta.map((row) => [textOf(row, "name"), textOf(row, "value")]),
  );
  const floor = meta.get("floor_ns");
  if (floor !== undefined && !/^-?\d{1,20}$/.test(floor)) {
    throw new DamagedStateError("the floor is not a number");
  }
  return {
    nonces: tables.nonces.map((row) => ({
      key: textOf(row, "key"),
      nonce: bytesOf(row, "nonce"),
      timestampNs: bigintOf(row, "timestamp_ns"),
    })),
    marks: tables.marks.map((row) => ({
      key: textOf(row, "key"),
      timestampNs: bigintOf(row, "timestamp_ns"),
    })),
    grants: tables.grants.map(grantFromRow),
    floorNs: floor === undefined ? undefined : BigInt(floor),
    bootId: meta.get("boot_id"),
    cleanStop: meta.get("clean_stop") === "1",
    grantsStand: meta.get("grants_stand") === "1",
    guard: meta.get(GUARD) ?? "",
    seal,
  };
}

/** Whether an error says that the file's content is wrong, not that the file cannot be reached. */
export function isDamage(cause: unknown): boolean {
  return cause instanceof DamagedStateError ||
    /malformed|not a database|corrupt|unsupported file format|no such table|no such column|file is encrypted/i
      .test(messageOf(cause));
}

/** Renames the database and its companions to a name that is free; gives that name. */
export function moveAside(path: string, atNs: bigint): string {
  const time = new Date(Number(atNs / 1_000_000n)).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  let aside = `${path}.unreadable-${time}`;
  for (let n = 2; isTaken(aside); n++) aside = `${path}.unreadable-${time}-${n}`;
  for (const suffix of ["", "-wal", "-shm"]) {
    if (isTaken(path + suffix)) Deno.renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

/** SQLite takes a file that it must not write to, by this byte, for somebody's wish. Nobody wishes that here. */
function requireHeader(path: string, size: number): void {
  if (size < HEADER_SIZE) throw new DamagedStateError("it is cut off");
  const header = new Uint8Array(HEADER_SIZE);
  try {
    using file = Deno.openSync(path);
    file.readSync(header);
  } catch {
    return; // SQLite says it better
  }
  if (header[WRITE_VERSION]! > 2) throw new DamagedStateError("its header forbids to write to it");
}

/** Brings the tables of an earlier version up to this one's; whether they are right is looked at afterwards. */
function upgrade(database: DatabaseSync): void {
  const missing = UPGRADES.get(versionOf(database));
  if (missing === undefined) return;
  try {
    database.exec(`BEGIN; ${missing} COMMIT`);
  } catch (cause) {
    database.exec("ROLLBACK");
    // A table of a version to come is there already; anything else shows again.
    if (!/already exists/.test(messageOf(cause))) throw cause;
  }
}

function versionOf(database: DatabaseSync): number {
  return Number((database.prepare("PRAGMA user_version").get() as Row)["user_version"]);
}

/** The version of the tables of whoever last wrote here: what the file's header says of a newer one must not be an error. */
function versionOfWriter(database: DatabaseSync): number {
  try {
    const row = database.prepare("SELECT value FROM meta WHERE name = 'version'").get() as Row;
    return Number(row["value"]);
  } catch {
    return Infinity; // it has not said so, or not there
  }
}

/** Throws unless the tables are, to the letter, those that openme makes. */
function requireSchema(database: DatabaseSync, path: string): void {
  const version = versionOf(database);
  if (version > SCHEMA_VERSION && versionOfWriter(database) > SCHEMA_VERSION) {
    throw new OpenmeError("STATE", `cannot use ${quote(path, 1000)}: a newer openme made it`, {
      hint: "run that version, or move the file away",
    });
  }
  const pattern = new DatabaseSync(":memory:");
  try {
    pattern.exec(SCHEMA);
    if (version !== SCHEMA_VERSION || tablesOf(database) !== tablesOf(pattern)) {
      throw new DamagedStateError("it does not have the tables of openme");
    }
  } finally {
    pattern.close();
  }
}

function tablesOf(database: DatabaseSync): string {
  return JSON.stringify(
    database.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY name").all(),
  );
}

/** The size of a file or of what a link leads to, `undefined` where there is none. Throws for what is no file. */
function sizeOf(path: string): number | undefined {
  let found: Deno.FileInfo;
  try {
    found = Deno.statSync(path);
  } catch {
    return undefined;
  }
  if (!found.isFile) throw new DamagedStateError("it is not a file");
  return found.size;
}

/** Whether something has this name, a link that leads nowhere included. */
function isTaken(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
