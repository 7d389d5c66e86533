/** The database file: opened or made, read whole, moved aside where SQLite reports damage. */

import { DatabaseSync } from "node:sqlite";
import { messageOf, OpenmeError } from "../values/errors.ts";
import type { Grant } from "../grants.ts";
import type { StoredKeyRecord } from "../values/key_record.ts";
import { quote } from "../values/text.ts";
import {
  DamagedStateError,
  GRANT_COLUMNS,
  grantFromRow,
  type GrantRow,
  SCHEMA,
  SCHEMA_VERSION,
} from "./schema.ts";

/** The row of `meta` with the plan of the guard. */
export const GUARD = "guard";
const KEYS = "SELECT key, used, step, wrong, locked_until_ms AS lockedUntilMs FROM keys";

/** Everything of a database that a start needs. */
export interface StoredState {
  readonly nonces: readonly { key: string; nonce: Uint8Array; timestampNs: bigint }[];
  readonly watermarks: readonly { key: string; timestampNs: bigint }[];
  readonly grants: readonly Grant[];
  /** Uses and codes of keys. */
  readonly keys: readonly ({ readonly key: string } & StoredKeyRecord)[];
  readonly floorNs: bigint | undefined;
  /** When this database was new, ns since 1970. */
  readonly beganNs: bigint | undefined;
  /** The boot in which a server last used it; `undefined` where none has, `""` where the boot could not be known. */
  readonly bootId: string | undefined;
  readonly cleanStop: boolean;
  /** Whether the firewall kept the grants after that stop. */
  readonly grantsStand: boolean;
  /** The plan of the guard that was confirmed last, as text; `""` where nothing is guarded. */
  readonly guard: string;
}

/**
 * Opens the database, or makes it. Throws what {@linkcode isDamage} recognizes where its content is wrong, `OpenmeError`
 * where a newer openme made it.
 */
export function connectDatabase(path: string): DatabaseSync {
  const isNew = !exists(path);
  const database = new DatabaseSync(path);
  try {
    database.exec(
      "PRAGMA busy_timeout = 1000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
    );
    // A checkpoint waits for the disk, and knocks should not: `tend` makes one a minute, this is only the bound.
    database.exec("PRAGMA wal_autocheckpoint = 8000");
    if (isNew) database.exec(`BEGIN; ${SCHEMA} COMMIT`);
    requireVersion(database, path);
    return database;
  } catch (cause) {
    database.close();
    throw cause;
  }
}

/** Opens a database only to read it, where nothing can be written; `undefined` where that is impossible. */
export function connectToRead(path: string): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { readOnly: true });
    requireVersion(database, path);
    return database;
  } catch {
    database?.close();
    return undefined;
  }
}

/** Reads all of it; throws as {@linkcode connectDatabase} does where any of it is wrong. */
export function readDatabase(database: DatabaseSync): StoredState {
  const [integrity] = database.prepare("PRAGMA quick_check(1)").all();
  if (integrity?.["quick_check"] !== "ok") {
    throw new DamagedStateError(String(integrity?.["quick_check"]));
  }
  const rows = <T>(sql: string) => {
    const statement = database.prepare(sql);
    statement.setReadBigInts(true);
    return statement.all() as T[];
  };
  const meta = new Map(
    rows<{ name: string; value: string }>("SELECT name, value FROM meta")
      .map(({ name, value }) => [name, value]),
  );
  const timeOf = (name: string) => {
    const text = meta.get(name);
    if (text === undefined) return undefined;
    if (!/^-?\d{1,20}$/.test(text)) throw new DamagedStateError(`${name} is not a number`);
    return BigInt(text);
  };
  return {
    nonces: rows(
      "SELECT key, nonce, timestamp_ns AS timestampNs FROM nonces ORDER BY key, timestamp_ns",
    ),
    watermarks: rows("SELECT key, timestamp_ns AS timestampNs FROM watermarks"),
    grants: rows<GrantRow>(`SELECT ${GRANT_COLUMNS} FROM grants`).map(grantFromRow),
    keys: database.prepare(KEYS).all() as unknown as StoredState["keys"],
    floorNs: timeOf("floor_ns"),
    beganNs: timeOf("began_ns"),
    bootId: meta.get("boot_id"),
    cleanStop: meta.get("clean_stop") === "1",
    grantsStand: meta.get("grants_stand") === "1",
    guard: meta.get(GUARD) ?? "",
  };
}

/** Whether an error says that the file's content is wrong, not that the file cannot be reached. */
export function isDamage(cause: unknown): boolean {
  return cause instanceof DamagedStateError ||
    /malformed|not a database|corrupt|unsupported file format|no such table|no column named|no such column|file is encrypted/i
      .test(messageOf(cause));
}

/** Renames the database and its companions to a name that is free; returns that name. */
export function moveAside(path: string, atNs: bigint): string {
  const time = new Date(Number(atNs / 1_000_000n)).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  let aside = `${path}.unreadable-${time}`;
  for (let n = 2; exists(aside); n++) aside = `${path}.unreadable-${time}-${n}`;
  for (const suffix of ["", "-wal", "-shm"]) {
    if (exists(path + suffix)) Deno.renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

function requireVersion(database: DatabaseSync, path: string): void {
  const version = Number(database.prepare("PRAGMA user_version").get()!["user_version"]);
  if (version > SCHEMA_VERSION) {
    throw new OpenmeError("STATE", `cannot use ${quote(path, 1000)}: a newer openme made it`, {
      hint: "run that version, or move the file away",
    });
  }
  if (version < SCHEMA_VERSION) {
    throw new DamagedStateError("it does not have the tables of openme");
  }
}

export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
