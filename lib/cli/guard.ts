/** `openme guard`: closes the guarded ports and exits, for the time before `serve` runs. */

import { OpenmeError } from "../errors.ts";
import { isBackendName } from "../config/firewall_names.ts";
import { BACKENDS } from "../firewall/backends.ts";
import { formatPortRange } from "../ports.ts";
import { backendOf } from "./backend_of.ts";
import { type Command, configPath, logOf } from "./context.ts";
import { guardPlanOf } from "../server.ts";
import { recordGuard } from "./former_guard.ts";
import { loadServerConfig } from "./load.ts";

export const guard: Command = {
  summary: "close the guarded ports and exit, for early boot",
  help:
    `Closes the guarded ports, lets nobody in, and exits: for the time before the network is up. The
openme serve that comes later takes the guard over with no gap. Open connections go on.

Usage: openme guard

Example:
  sudo openme guard
`,
  options: {},
  positionals: 0,
  run: async (args, context) => {
    const { config } = await loadServerConfig(configPath(args));
    if (!config.dropPorts) {
      throw new OpenmeError("CONFIG", "there is nothing to close: server.drop_ports is not true", {
        hint: "your own firewall does the closing; set drop_ports: true and openme does",
      });
    }
    const backend = await backendOf(config, { context, log: logOf(args, context) });
    if (isBackendName(backend.name) && BACKENDS[backend.name].leaves === "nothing") {
      throw new OpenmeError("CONFIG", "there is nothing to close with: server.firewall is none");
    }
    await backend.install([]);
    recordGuard(config.stateDir, guardPlanOf(config));
    context.stderr(
      `openme: closed by ${backend.name}: ${config.guardedPorts.map(formatPortRange).join(" ")}`,
    );
    return 0;
  },
};
