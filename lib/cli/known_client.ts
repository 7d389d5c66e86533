/** Whether a client of this name is or was registered, for commands that only look. */

import { nearest } from "../config/fields.ts";
import type { ServerConfig } from "../config/server.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { readHistory, readSnapshot } from "../state/read.ts";
import { noSuchClient } from "./edit_server_file.ts";

/** Throws where neither the configuration nor the database has a client of this name. */
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
  // Without a configuration only the database was looked at.
  throw new OpenmeError(
    "CONFIG",
    `no client ${
      quote(name)
    } has been let in, and who is registered cannot be told without a configuration`,
  );
}
