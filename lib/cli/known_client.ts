/** Whether there is, or was, a client of a name: for commands that look a client up rather than change it. */

import type { ServerConfig } from "../config/server_config.ts";
import { readHistory } from "../state/history.ts";
import { readSnapshot } from "../state/snapshot.ts";
import { noSuchClient } from "./edit_server.ts";

/** Throws where nobody of that name is registered, and the state knows of nobody who was. */
export function requireKnownClient(
  name: string,
  { config, stateDir }: { config: ServerConfig | undefined; stateDir: string },
): void {
  const registered = config?.clients.map((client) => client.name) ?? [];
  if (registered.includes(name)) return;
  if (readHistory(stateDir, { client: name, sinceMs: undefined, limit: 1 }).length > 0) return;
  const seen = [...readSnapshot(stateDir, Date.now()).lastSeenMs.keys()];
  if (!seen.includes(name)) throw noSuchClient(name, [...registered, ...seen]);
}
