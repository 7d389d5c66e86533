/** `openme list`: the registered clients. */

import { extendText, ruleTexts } from "../../config/client_rules.ts";
import type { ClientEntry } from "../../config/client_keys.ts";
import type { ServerConfig } from "../../config/server.ts";
import { hexToBytes } from "../../crypto/keys.ts";
import { fingerprint } from "../../crypto/sync.ts";
import { RevokedKeys } from "../../fleet/revoked.ts";
import { messageOf } from "../../values/errors.ts";
import { SINGLE } from "../../values/network.ts";
import { shownPorts } from "../../values/ports.ts";
import { readSnapshot } from "../../state/read.ts";
import { describeClient } from "../client_json.ts";
import { type Command, configPath, isoTime, renderJson, STATE_DIR } from "../context.ts";
import { loadServerConfig, stateDirOf } from "../load.ts";
import { renderTable } from "../output.ts";
import { formatTime } from "../flags.ts";

export const list: Command = {
  about:
    `Shows the registered clients: key, ports, when the key ends, when a knock was last accepted, the
width of grants that are wider than one address, and the rules of its entry in words.`,
  parameters: {
    "--json": `{"clients": [{"client", "fingerprint", "public_key", "ports", "prefix", "expires_at",
      "previous_key", "conditions", "extensions", "used", "last_seen_at"}]}: docs/json.md; with "fleet_revoked": true where the key was
      revoked for the whole fleet and this file still has it`,
    ...STATE_DIR,
  },
  example: "sudo openme list",
  run: async (args, context) => {
    const { config } = await loadServerConfig(configPath(args));
    const nowMs = Date.now();
    let lastSeenMs: ReadonlyMap<string, number> = new Map();
    let uses: ReadonlyMap<string, number> | undefined;
    let revoked: RevokedKeys | undefined;
    try {
      revoked = RevokedKeys.open(stateDirOf(args, config));
      ({ lastSeenMs, uses } = readSnapshot(stateDirOf(args, config), nowMs));
    } catch (cause) {
      // The configuration alone says who is registered.
      context.stderr(`openme: when they were last seen is not known: ${messageOf(cause)}`);
    }
    if (args.values["json"]) {
      const clients = config.clients.map((client) => {
        const seenMs = lastSeenMs.get(client.name);
        const seen = { "last_seen_at": seenMs === undefined ? null : isoTime(seenMs) };
        const used = client.rules?.uses === undefined || !uses
          ? {}
          : { used: uses.get(client.key) ?? 0 };
        const isRevoked = revoked?.has(client.key) ? { "fleet_revoked": true } : {};
        return { ...describeClient(client, config), ...used, ...seen, ...isRevoked };
      });
      context.stdout(renderJson({ clients }));
    } else if (config.clients.length === 0) {
      context.stderr("openme: no clients yet; register one: openme add NAME");
    } else context.stdout(renderClients(config, { lastSeenMs, uses, nowMs, revoked }));
    if (config.previousPrivateKey) {
      context.stderr(
        "openme: two server keys are good at the moment; openme rotate --server --finish ends the old one",
      );
    }
    return 0;
  },
};

function renderClients(
  config: ServerConfig,
  { lastSeenMs, uses, nowMs, revoked }: {
    revoked: RevokedKeys | undefined;
    lastSeenMs: ReadonlyMap<string, number>;
    uses: ReadonlyMap<string, number> | undefined;
    nowMs: number;
  },
): string {
  const someAreWide = config.clients.some(isWide);
  const someHaveRules = config.clients.some((each) => each.rules || each.extensions.length > 0);
  return renderTable(
    [
      "NAME",
      "KEY",
      "PORTS",
      ...(someAreWide ? ["PREFIX"] : []),
      "EXPIRES",
      "LAST SEEN",
      ...(someHaveRules ? ["RULES"] : []),
    ],
    config.clients.map((client) => {
      const { expiresAtMs, previous, prefix } = client;
      const seenMs = lastSeenMs.get(client.name);
      const two = previous && previous.untilMs > nowMs
        ? ` (and ${fingerprint(hexToBytes(previous.key))} until ${formatTime(previous.untilMs)})`
        : "";
      const expired = expiresAtMs !== undefined && expiresAtMs <= nowMs ? " (expired)" : "";
      return [
        client.name,
        fingerprint(client.publicKey) + two,
        shownPorts(client.ports, config.healthPort).join(" ") || "none",
        ...(someAreWide ? [isWide(client) ? `v4=${prefix.v4},v6=${prefix.v6}` : ""] : []),
        revoked?.has(client.key)
          ? "revoked for the fleet"
          : expiresAtMs === undefined
          ? "never"
          : formatTime(expiresAtMs) + expired,
        seenMs === undefined ? "never" : formatTime(seenMs),
        ...(someHaveRules ? [rulesOf(client, uses, config)] : []),
      ];
    }),
  );
}

/** The rules of an entry in words, and how often its key can still be used. */
function rulesOf(
  { key, rules, extensions, ports: all }: ClientEntry,
  counted: ReadonlyMap<string, number> | undefined,
  { healthPort }: ServerConfig,
): string {
  const { uses, ...texts } = ruleTexts(rules);
  const left = Math.max(0, (rules?.uses ?? 0) - (counted?.get(key) ?? 0));
  const shown = { ...texts, ...(uses && { uses: counted ? `${uses} (${left} left)` : uses }) };
  if (rules?.extendMs !== undefined) return Object.values(shown).join("; ");
  const extended = extensions.map(({ ports, mostMs }) => {
    const which = ports.length < all.length ? `${shownPorts(ports, healthPort).join(" ")} ` : "";
    return which + extendText(mostMs);
  });
  return [...Object.values(shown), ...extended].join("; ");
}

function isWide({ prefix }: ClientEntry): boolean {
  return prefix.v4 < SINGLE.v4 || prefix.v6 < SINGLE.v6;
}
