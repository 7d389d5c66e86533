/** Whether there is, or was, a client of a name: for commands that look a client up rather than change it. */

import { nearest } from "../config/fields.ts";
import type { ServerConfig } from "../config/server.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { readHistory } from "../state/history.ts";
import { readSnapshot } from "../state/read.ts";
import { noSuchClient } from "./edit_server_file.ts";

/** Throws where nobody of that name is registered, and the state knows of nobody who was. */
export function requireKnownClient(
  name: string,
  { config, stateDir }: { config: ServerConfig | undefined; stateDir: string },
): void {
  const registered = config?.clients.map((client) => client.name) ?? [];
  if (registered.includes(name)) return;
  if (readHistory(stateDir, { client: name, sinceMs: undefined, limit: 1 }).length > 0) return;
  const seen = [...readSnapshot(stateDir, Date.now()).lastSeenMs.keys()];
  if (seen.includes(name)) return;
  if (config || nearest(name, seen)) throw noSuchClient(name, [...registered, ...seen]);
  // Who is registered is not known: only that the name has left no trace.
  throw new OpenmeError(
    "CONFIG",
    `no client ${
      quote(name)
    } has been let in, and who is registered cannot be told without a configuration`,
  );
}
