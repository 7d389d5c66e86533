/** What the configuration permits each client's key: to be tried by the gate, and to open what, for how long. */

import type { ClientEntry } from "../config/clients.ts";
import type { ServerConfig } from "../config/server.ts";
import type { VerifySignature } from "../crypto/keys.ts";
import type { GateClient } from "../gate.ts";
import type { Permission } from "../grants.ts";

/** A key of a client, and until when it is good. */
interface LiveKey {
  readonly key: string;
  readonly verify: VerifySignature;
  /** ms since 1970. */
  readonly expiresAtMs: number | undefined;
}

/** The client's key, and the one before it while that is good as well. */
function keysOf({ key, verify, expiresAtMs, previous }: ClientEntry): LiveKey[] {
  const keys: LiveKey[] = [{ key, verify, expiresAtMs }];
  if (previous) {
    const { untilMs } = previous;
    keys.push({ ...previous, expiresAtMs: Math.min(untilMs, expiresAtMs ?? untilMs) });
  }
  return keys;
}

/** What each key may open, by the key in hex. */
export function permissionsOf(config: ServerConfig): Map<string, Permission> {
  return new Map(
    config.clients.flatMap((client) =>
      keysOf(client).map(({ key, expiresAtMs }) => [key, {
        client: client.name,
        key,
        ports: client.ports,
        lifetimeMs: config.knockTimeoutMs,
        expiresAtMs,
        prefix: client.prefix,
      }])
    ),
  );
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
