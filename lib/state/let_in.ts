/**
 * Where clients were let in, from the history on disk: a connection lives on long after its grant has ended, and whoever
 * wants to cut it must know where to look.
 */

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type Address, parseAddress } from "../address.ts";
import { messageOf, OpenmeError } from "../errors.ts";
import { expandPortSpec, parsePortSpec, type PortRange } from "../ports.ts";
import { type Row, textOf } from "./schema.ts";
import { DATABASE_NAME } from "./store.ts";

/** A client, an address that was opened for it, and what was opened. */
export interface Place {
  readonly client: string;
  readonly address: Address;
  readonly ports: readonly PortRange[];
}

/** Every place in the history that is kept. */
export function placesLetIn(stateDir: string): Place[] {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(join(stateDir, DATABASE_NAME), { readOnly: true });
    database.exec("PRAGMA busy_timeout = 1000");
    const rows = database.prepare(
      "SELECT DISTINCT client, address, ports FROM history WHERE event IN ('granted', 'renewed')",
    ).all() as Row[];
    return rows.flatMap((row) => {
      const address = parseAddress(textOf(row, "address"));
      const ports = textOf(row, "ports").split(" ").map(parsePortSpec);
      if (!address || ports.includes(undefined)) return [];
      return {
        client: textOf(row, "client"),
        address,
        ports: ports.flatMap((spec) => expandPortSpec(spec!)),
      };
    });
  } catch (cause) {
    throw new OpenmeError("STATE", `cannot read the history: ${messageOf(cause)}`, { cause });
  } finally {
    database?.close();
  }
}
