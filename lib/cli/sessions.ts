/** `openme sessions`: who is let in now. Reads the database; `serve` is not asked. */

import { formatAddress } from "../address.ts";
import type { ServerConfig } from "../config/server_config.ts";
import { formatDuration } from "../duration.ts";
import type { Grant } from "../grants.ts";
import { formatPortRange, type PortRange, subtractPortRanges } from "../ports.ts";
import { readSnapshot } from "../state/snapshot.ts";
import { type Command, configPath, textFlag } from "./context.ts";
import { loadServerConfig } from "./load.ts";

export const sessions: Command = {
  summary: "show who is let in now",
  help: `Shows who is let in now, from where, to which ports and for how long.

Usage: openme sessions [--json] [--state-dir DIR]

  --json            {"sessions": [{"client", "address", "ports", "opened_at", "expires_at"}], "last_seen": {…}}
  --state-dir DIR   where serve keeps its state (default: server.state_dir)

Example:
  sudo openme sessions
`,
  options: { json: { type: "boolean" }, "state-dir": { type: "string" } },
  positionals: 0,
  run: async (args, context) => {
    const { config } = await loadServerConfig(configPath(args));
    const nowMs = Date.now();
    const { grants, lastSeenMs } = readSnapshot(
      textFlag(args, "state-dir") ?? config.stateDir,
      nowMs,
    );
    if (args.values["json"]) {
      const lastSeen = Object.fromEntries(
        [...lastSeenMs].map(([client, atMs]) => [client, isoTime(atMs)]),
      );
      const report = {
        sessions: grants.map((grant) => describeGrant(grant, config)),
        "last_seen": lastSeen,
      };
      context.stdout(JSON.stringify(report, undefined, 2) + "\n");
      return 0;
    }
    if (grants.length === 0) context.stderr("openme: nobody is let in at the moment");
    else context.stdout(renderTable(grants, config, nowMs));
    return 0;
  },
};

function describeGrant(grant: Grant, config: ServerConfig) {
  return {
    client: grant.client,
    address: formatAddress(grant.address),
    ports: portsOf(grant, config),
    opened_at: isoTime(grant.openedAtMs),
    expires_at: isoTime(grant.expiresAtMs),
  };
}

function renderTable(grants: readonly Grant[], config: ServerConfig, nowMs: number): string {
  const rows = [
    ["CLIENT", "ADDRESS", "PORTS", "LEFT"],
    ...grants.map((grant) => [
      grant.client,
      formatAddress(grant.address),
      portsOf(grant, config).join(" "),
      formatDuration(Math.ceil((grant.expiresAtMs - nowMs) / 1000) * 1000),
    ]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ").trimEnd() + "\n"
  ).join("");
}

/** What the client asked for; the health port comes with every grant and is left out. */
function portsOf(grant: Grant, { healthPort }: ServerConfig): string[] {
  const health: PortRange = { protocol: "tcp", first: healthPort, last: healthPort };
  return subtractPortRanges(grant.ports, [health]).map(formatPortRange);
}

function isoTime(atMs: number): string {
  return new Date(atMs).toISOString();
}
