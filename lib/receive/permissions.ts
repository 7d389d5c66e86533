/** What the configuration permits each client's key: to be tried by the gate, and to open what, for how long. */

import type { ClientEntry } from "../config/clients.ts";
import type { ServerConfig } from "../config/server.ts";
import type { GateClient } from "../gate.ts";
import type { Permission } from "../grants.ts";

/** The client's key, and the one before it while that is good as well; with their ends, ms since 1970. */
function keysOf({ key, verify, expiresAtMs, previous }: ClientEntry) {
  const keys = [{ key, verify, expiresAtMs }];
  if (previous) {
    const { key, verify, untilMs } = previous;
    keys.push({ key, verify, expiresAtMs: Math.min(untilMs, expiresAtMs ?? untilMs) });
  }
  return keys;
}

/** What each key may open, by the key in hex. */
export function permissionsOf(
  { clients, knockTimeoutMs: lifetimeMs }: ServerConfig,
): Map<string, Permission> {
  const permissions = new Map<string, Permission>();
  for (const client of clients) {
    const { name, ports, prefix } = client;
    for (const { key, expiresAtMs } of keysOf(client)) {
      permissions.set(key, { client: name, key, ports, lifetimeMs, expiresAtMs, prefix });
    }
  }
  return permissions;
}

/** Each key, as the gate tries it. */
export function gateClientsOf({ clients }: ServerConfig): GateClient[] {
  return clients.flatMap((client) =>
    keysOf(client).map(({ key, verify, expiresAtMs }) => ({
      name: client.name,
      key,
      verify,
      expiresNs: expiresAtMs === undefined ? undefined : BigInt(expiresAtMs) * 1_000_000n,
    }))
  );
}
