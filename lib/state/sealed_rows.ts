/**
 * The rows that decide who is let in: nonces, marks, grants and `meta`. Every change of them goes through here, which
 * keeps their digest, and counts the transactions, in the row `digest` of `meta`. SQLite notices a file whose structure
 * is broken; a nonce with one bit turned over, or a log that ends early, is as good as any other to it.
 */

import type { DatabaseSync } from "node:sqlite";
import type { Grant } from "../grants.ts";
import { formatNetwork } from "../values/network.ts";
import { Digest, rowText, type Value } from "./digest.ts";
import { bigintOf, bytesOf, DamagedStateError, grantToRow, type Row } from "./schema.ts";
import type { Statements } from "./statements.ts";

const SEAL = "digest";
/** The columns under the digest, and how many of them are the key; nonces have no other row under their key. */
const SEALED = {
  nonces: { columns: ["key", "nonce", "timestamp_ns"], keys: 0 },
  marks: { columns: ["key", "timestamp_ns"], keys: 1 },
  grants: {
    columns: [
      "client",
      "address",
      "key",
      "ports",
      "opened_at_ms",
      "expires_at_ms",
      "ends_steady_ms",
    ],
    keys: 2,
  },
  meta: { columns: ["name", "value"], keys: 1 },
} as const;
type Table = keyof typeof SEALED;

/** What is sealed, as one process knows it. */
export class Seal {
  readonly #digest = new Digest();
  /** The rows that can be replaced, by table and key. Nonces only come and go. */
  readonly #rows = new Map<string, string>();
  /** Transactions that changed a sealed row, since the database was made. */
  sequence: number;

  constructor(sequence = 0) {
    this.sequence = sequence;
  }

  put(table: Table, values: readonly Value[]): void {
    const row = rowText(table, values);
    const { keys } = SEALED[table];
    if (keys > 0) {
      this.take(table, values.slice(0, keys));
      this.#rows.set(rowText(table, values.slice(0, keys)), row);
    }
    this.#digest.add(row);
  }

  /** By its key; a nonce by all of it. */
  take(table: Table, values: readonly Value[]): void {
    const key = rowText(table, values);
    if (table === "nonces") return this.#digest.remove(key);
    const row = this.#rows.get(key);
    if (row === undefined) return;
    this.#rows.delete(key);
    this.#digest.remove(row);
  }

  /** All rows of a table that has keys. */
  clear(table: Table): void {
    for (const [key, row] of this.#rows) {
      if (!key.startsWith(`${table}\0`)) continue;
      this.#rows.delete(key);
      this.#digest.remove(row);
    }
  }

  toString(): string {
    return `${this.sequence} ${this.#digest}`;
  }
}

/**
 * Reads every sealed row and holds them against the digest that is stored. `expected`: whether there must be one; what
 * an openme of before has written has none, or one of before that. Throws {@linkcode DamagedStateError}.
 */
export function readSeal(
  tables: Readonly<Record<Table, readonly Row[]>>,
  { expected }: { expected: boolean },
): Seal {
  const seal = new Seal();
  let stored: string | undefined;
  for (const table of Object.keys(SEALED) as Table[]) {
    for (const row of tables[table]) {
      if (table === "meta" && row["name"] === SEAL) stored = String(row["value"]);
      else seal.put(table, SEALED[table].columns.map((column) => row[column] as Value));
    }
  }
  seal.sequence = Number(/^\d{1,15}(?= )/.exec(stored ?? "")?.[0] ?? 0);
  if (expected && stored !== String(seal)) {
    throw new DamagedStateError(
      stored === undefined ? "its digest is gone" : "its rows are not those that were written",
    );
  }
  return seal;
}

/** Writes sealed rows, inside a transaction of the caller. */
export class SealedRows {
  readonly #run: Statements;
  readonly #seal: Seal;
  #changed = false;

  constructor(run: Statements, seal: Seal) {
    this.#run = run;
    this.#seal = seal;
  }

  insertNonce(key: string, nonce: Uint8Array, timestampNs: bigint): void {
    const { changes } = this.#run.insertNonce.run(key, nonce, timestampNs);
    if (Number(changes) === 0) return;
    this.#put("nonces", [key, nonce, timestampNs]);
  }

  /** Raises a client's mark, and forgets the nonces at or before it. */
  putMark(key: string, markNs: bigint): void {
    this.#run.upsertMark.run(key, markNs);
    this.#put("marks", [key, markNs]);
    for (const row of this.#run.deleteNonces.all(key, markNs) as Row[]) {
      this.#seal.take("nonces", [key, bytesOf(row, "nonce"), bigintOf(row, "timestamp_ns")]);
    }
  }

  deleteMark(key: string): void {
    this.#run.deleteMark.run(key);
    this.#seal.take("marks", [key]);
    this.#changed = true;
  }

  putGrant(grant: Grant): void {
    const row = grantToRow(grant);
    this.#run.upsertGrant.run(...row);
    this.#put("grants", row);
  }

  deleteGrant({ client, address }: Grant): void {
    const key = [client, formatNetwork(address)] as const;
    this.#run.deleteGrant.run(...key);
    this.#seal.take("grants", key);
    this.#changed = true;
  }

  replaceGrants(grants: readonly Grant[]): void {
    this.#run.deleteGrants.run();
    this.#seal.clear("grants");
    this.#changed = true;
    for (const grant of grants) this.putGrant(grant);
  }

  putMeta(name: string, value: string): void {
    this.#run.upsertMeta.run(name, value);
    this.#put("meta", [name, value]);
  }

  /** Writes the digest where anything has changed; gives the number of the transaction then. */
  seal(): number | undefined {
    if (!this.#changed) return undefined;
    this.#changed = false;
    this.#seal.sequence++;
    this.#run.upsertMeta.run(SEAL, String(this.#seal));
    return this.#seal.sequence;
  }

  #put(table: Table, values: readonly Value[]): void {
    this.#seal.put(table, values);
    this.#changed = true;
  }
}

/** Empties every sealed table, for writing all of it anew. */
export function clearSealed(database: DatabaseSync): void {
  for (const table of Object.keys(SEALED)) database.exec(`DELETE FROM ${table}`);
}
