/**
 * The tables of the state database, and grants as rows. STRICT tables hold only values of their types, and SQLite's
 * `quick_check` verifies that at each start.
 */

import type { Grant } from "../grants.ts";
import { formatNetwork, type Network, parseNetwork } from "../values/network.ts";
import { expandPortSpec, formatPortRange, parsePortSpec, type PortRange } from "../values/ports.ts";

/** Counted up with every change of the tables. */
export const SCHEMA_VERSION = 6;

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
    extended TEXT CHECK (json_valid(extended)),
    PRIMARY KEY (client, address)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE keys (key TEXT PRIMARY KEY, used INTEGER NOT NULL, step INTEGER NOT NULL,
    wrong INTEGER NOT NULL, locked_until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
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

/** A grant as a row of `grants`, under the names of {@linkcode GRANT_COLUMNS}. */
export type GrantRow =
  & Omit<Grant, "address" | "ports" | "extended">
  & { readonly address: string; readonly ports: string; readonly extended: string | null };

/** The columns of a grant, for a SELECT. */
export const GRANT_COLUMNS =
  "client, address, key, ports, opened_at_ms AS openedAtMs, expires_at_ms AS expiresAtMs, ends_steady_ms AS endsSteadyMs, extended";

/** The values of a row of `grants`, in the order of {@linkcode GRANT_COLUMNS}. */
export function grantToRow(grant: Grant): (string | number | null)[] {
  return [
    grant.client,
    formatNetwork(grant.address),
    grant.key,
    grant.ports.map(formatPortRange).join(" "),
    grant.openedAtMs,
    grant.expiresAtMs,
    grant.endsSteadyMs,
    grant.extended ? JSON.stringify(grant.extended) : null,
  ];
}

/** The grant in a row; throws {@linkcode DamagedStateError}. */
export function grantFromRow({ address, ports, extended, ...row }: GrantRow): Grant {
  const grant = { ...row, address: addressFrom(address), ports: portsFrom(ports) };
  return extended === null ? grant : { ...grant, extended: JSON.parse(extended) };
}

/** The address or network that was written; throws {@linkcode DamagedStateError}. */
export function addressFrom(text: string): Network {
  const address = parseNetwork(text);
  if (!address) throw new DamagedStateError("a grant has no address");
  return address;
}

/** The ports that were written; throws {@linkcode DamagedStateError}. */
export function portsFrom(texts: string): PortRange[] {
  return texts.split(" ").filter(Boolean).flatMap((text) => {
    const spec = parsePortSpec(text);
    if (!spec) throw new DamagedStateError("a grant has no ports");
    return expandPortSpec(spec);
  });
}
