/** A registered client as `--json` prints it, the same in `list`, `add` and `rotate`. docs/json.md has the names. */

import type { ClientEntry } from "../config/client_keys.ts";
import type { ServerConfig } from "../config/server.ts";
import { encodeBase64, hexToBytes } from "../crypto/keys.ts";
import { fingerprint } from "../crypto/sync.ts";
import { formatNetwork } from "../values/network.ts";
import { shownPorts } from "../values/ports.ts";
import { isoTime } from "./context.ts";

export function describeClient(client: ClientEntry, config: ServerConfig) {
  const { name, publicKey, ports, prefix, expiresAtMs, previous, rules, extensions } = client;
  return {
    client: name,
    fingerprint: fingerprint(publicKey),
    public_key: encodeBase64(publicKey),
    ports: shownPorts(ports, config.healthPort),
    prefix,
    expires_at: expiresAtMs === undefined ? null : isoTime(expiresAtMs),
    previous_key: previous
      ? {
        fingerprint: fingerprint(hexToBytes(previous.key)),
        expires_at: isoTime(previous.untilMs),
      }
      : null,
    conditions: rules
      ? {
        hours: rules.hours?.map(({ text }) => text) ?? null,
        networks: rules.from?.map(formatNetwork) ?? null,
        uses: rules.uses ?? null,
        totp: rules.totp !== undefined,
        needs: rules.needs ?? null,
        lifetime_ms: rules.lifetimeMs ?? null,
      }
      : null,
    extensions: extensions.map(({ ports: extended, mostMs }) => ({
      ports: shownPorts(extended, config.healthPort),
      most_ms: mostMs,
    })),
  };
}
