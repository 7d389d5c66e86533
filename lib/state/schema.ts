/**
 * The tables of the state database, and how its rows are read back: strictly, since a disk can hand back anything.
 */

import type { Grant } from "../grants.ts";
import { formatNetwork, type Network, parseNetwork } from "../values/network.ts";
import { expandPortSpec, formatPortRange, parsePortSpec, type PortRange } from "../values/ports.ts";

/** Counted up with every change of the tables. */
export const SCHEMA_VERSION = 4;

export const SCHEMA = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE nonces (
    key TEXT NOT NULL, nonce BLOB NOT NULL, timestamp_ns INTEGER NOT NULL,
    PRIMARY KEY (key, timestamp_ns, nonce)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE watermarks (key TEXT PRIMARY KEY, timestamp_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE grants (
    client TEXT NOT NULL, address TEXT NOT NULL, key TEXT NOT NULL, ports TEXT NOT NULL,
    opened_at_ms REAL NOT NULL, expires_at_ms REAL NOT NULL, ends_steady_ms REAL NOT NULL,
    PRIMARY KEY (client, address)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE last_seen (client TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE history (
    id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, event TEXT NOT NULL, client TEXT NOT NULL,
    source TEXT NOT NULL, address TEXT NOT NULL DEFAULT '', ports TEXT NOT NULL DEFAULT '',
    expires_at_ms REAL, reason TEXT, ahead_ms INTEGER,
    failed INTEGER NOT NULL DEFAULT 0, ended_at_ms REAL, ended_why TEXT, renamed_to TEXT
  ) STRICT;
  CREATE INDEX history_of_address ON history (address, at_ms);
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** A row of the database that cannot have been written by openme. */
export class DamagedStateError extends Error {
  override name = "DamagedStateError";
}

export type Row = Record<string, unknown>;

/** A grant as a row: the values of the columns in their order. */
export function grantToRow(grant: Grant): [string, string, string, string, number, number, number] {
  return [
    grant.client,
    formatNetwork(grant.address),
    grant.key,
    grant.ports.map(formatPortRange).join(" "),
    grant.openedAtMs,
    grant.expiresAtMs,
    grant.endsSteadyMs,
  ];
}

/** The grant in a row; throws {@linkcode DamagedStateError}. */
export function grantFromRow(row: Row): Grant {
  return {
    client: textOf(row, "client"),
    key: textOf(row, "key"),
    address: addressOf(row),
    ports: portsOf(row),
    openedAtMs: numberOf(row, "opened_at_ms"),
    expiresAtMs: numberOf(row, "expires_at_ms"),
    endsSteadyMs: numberOf(row, "ends_steady_ms"),
  };
}

/** The address or network in a row. */
export function addressOf(row: Row): Network {
  const address = parseNetwork(textOf(row, "address"));
  if (!address) throw new DamagedStateError("a grant has no address");
  return address;
}

/** The ports in a row. */
export function portsOf(row: Row): PortRange[] {
  return textOf(row, "ports").split(" ").filter(Boolean).flatMap((text) => {
    const spec = parsePortSpec(text);
    if (!spec) throw new DamagedStateError("a grant has no ports");
    return expandPortSpec(spec);
  });
}

export function textOf(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== "string") throw new DamagedStateError(`expected text in column ${column}`);
  return value;
}

export function numberOf(row: Row, column: string): number {
  const value = Number(row[column] as number | bigint);
  if (!Number.isFinite(value)) throw new DamagedStateError(`expected a number in column ${column}`);
  return value;
}

export function bigintOf(row: Row, column: string): bigint {
  const value = row[column];
  if (typeof value !== "bigint") {
    throw new DamagedStateError(`expected an integer in column ${column}`);
  }
  return value;
}

export function bytesOf(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) {
    throw new DamagedStateError(`expected bytes in column ${column}`);
  }
  return value;
}
