/**
 * Where clients were let in, from the history on disk: a connection lives on long after its grant has ended, and whoever
 * wants to cut it must know where to look.
 */

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { type Network, overlap, parseNetwork } from "../values/network.ts";
import { expandPortSpec, parsePortSpec, type PortRange } from "../values/ports.ts";
import { type Row, textOf } from "./schema.ts";
import { DATABASE_NAME } from "./names.ts";

/** A client, an address or network that was opened for it, and what was opened. */
export interface Place {
  readonly client: string;
  readonly address: Network;
  readonly ports: readonly PortRange[];
}

/** Whose places are asked for: a client's, those that overlap a network, or all. */
export interface Whose {
  readonly client?: string;
  readonly address?: Network;
}

/** The places in the history that is kept. */
export function placesLetIn(stateDir: string, { client, address }: Whose): Place[] {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(join(stateDir, DATABASE_NAME), { readOnly: true });
    database.exec("PRAGMA busy_timeout = 1000");
    const rows = database.prepare(
      "SELECT DISTINCT client, address, ports FROM history WHERE event IN ('granted', 'renewed') " +
        "AND (?1 IS NULL OR client = ?1)",
    ).all(client ?? null) as Row[];
    return rows.flatMap((row) => {
      const place = parseNetwork(textOf(row, "address"));
      const ports = textOf(row, "ports").split(" ").map(parsePortSpec);
      if (!place || ports.includes(undefined) || (address && !overlap(place, address))) return [];
      return {
        client: textOf(row, "client"),
        address: place,
        ports: ports.flatMap((spec) => expandPortSpec(spec!)),
      };
    });
  } catch (cause) {
    throw new OpenmeError("STATE", `cannot read the history: ${messageOf(cause)}`, { cause });
  } finally {
    database?.close();
  }
}
