/** `openme check`: reads the configuration and says what is wrong with it, or most likely a mistake. */

import { type ServerConfig, unguardable } from "../../config/server.ts";
import { type FirewallName, isBackendName } from "../../firewall/plan.ts";
import { BACKENDS } from "../../firewall/catalog.ts";
import { requirePrograms } from "../../firewall/command/line.ts";
import { isHoldable } from "../../values/address.ts";
import { isProgramThere } from "../../system/run_program.ts";
import { type Command, configPath, renderJson } from "../context.ts";
import { misfitsOf } from "../host_fit.ts";
import { loadServerConfig } from "../load.ts";

export const check: Command = {
  about:
    `Reads the configuration and says what is wrong with it, and what on this machine does not go with
it: an interface that is not there, a health port that another program has. Touches nothing, and
starts no firewall's program: whether the firewall works here is for openme plan to tell.`,
  parameters: {
    "--json": `{"file", "client_count", "firewall", "warnings"}: docs/json.md`,
  },
  notes: `Exit code 0: the configuration is good, warnings or not; 1: it is wrong.`,
  example: "sudo openme check --config /etc/openme/config.yaml",
  run: async (args, context) => {
    const path = configPath(args);
    const { config } = await loadServerConfig(path);
    if (config.command) requirePrograms(config.command);
    const warnings = [
      ...odditiesOf(config, Date.now()),
      ...missingPrograms(config.firewall),
      ...(await misfitsOf(config, context.run)).map(({ why, hint }) => `${why}: ${hint}`),
    ];
    if (args.values["json"]) {
      const { clients, firewall } = config;
      context.stdout(
        renderJson({ file: path, client_count: clients.length, firewall, warnings }),
      );
      return 0;
    }
    for (const oddity of warnings) {
      context.stderr(`openme: warning: ${oddity}`);
    }
    const clients = config.clients.length;
    context.stderr(
      `openme: ${path} is good: ${clients} ${
        clients === 1 ? "client" : "clients"
      }, firewall ${config.firewall}`,
    );
    return 0;
  },
};

/** A firewall whose program is not installed: no error, since a file may be checked on another machine. */
function missingPrograms(firewall: FirewallName): string[] {
  const names = firewall === "auto" ? Object.keys(BACKENDS).filter(isBackendName) : [firewall];
  const programs = names.map((name) => BACKENDS[name].leaves).flatMap((leaves) =>
    typeof leaves === "string" ? [] : [leaves[0]]
  );
  if (programs.length === 0 || programs.some(isProgramThere)) return [];
  const wanted = programs.length === 1 ? `no program ${programs[0]}` : "no firewall's program";
  return [`server.firewall: ${firewall}: there is ${wanted} on this machine, and serve would fail`];
}

/** What is allowed, but most likely a mistake. */
export function odditiesOf(config: ServerConfig, nowMs: number): string[] {
  const { clients } = config;
  const oddities: string[] = [];
  if (clients.length === 0) {
    oddities.push("clients: there are none, so no knock is accepted; see openme add");
  }
  for (const { name, ports, expiresAtMs, rules, extensions } of clients) {
    if (expiresAtMs !== undefined && expiresAtMs <= nowMs) {
      oddities.push(`clients.${name}: its key has expired`);
    }
    if (rules?.from && !rules.from.some(({ base }) => isHoldable(base))) {
      oddities.push(`clients.${name}.from: no knock can come from there`);
    }
    const opensMs = rules?.lifetimeMs ?? config.knockTimeoutMs;
    if (extensions.some(({ mostMs }) => mostMs <= opensMs)) {
      oddities.push(`clients.${name}: extend_while_used is no longer than a knock opens anyway`);
    }
    for (const other of rules?.needs ?? []) {
      const needed = clients.find((each) => each.name === other);
      if (needed && (needed.expiresAtMs ?? Infinity) > nowMs) continue;
      const why = needed ? "whose key has expired" : "and there is no such client";
      oddities.push(`clients.${name}.needs: its knocks wait for ${other}, ${why}`);
    }
    if (ports.length === 0) oddities.push(`clients.${name}: a knock of this client opens nothing`);
  }
  oddities.push(...unguardable(config));
  if (isBackendName(config.firewall) && BACKENDS[config.firewall].leaves === "nothing") {
    oddities.push(`server.firewall: ${config.firewall} guards nothing and opens nothing`);
  } else if (!config.dropPorts) {
    oddities.push(
      "server.drop_ports: openme closes nothing by itself; see what stays open: openme plan",
    );
  }
  return oddities;
}
