/** `openme guard`: closes the guarded ports and exits, for the time before `serve` runs. */

import { OpenmeError } from "../errors.ts";
import { isBackendName } from "../config/firewall_names.ts";
import { BACKENDS } from "../firewall/backends.ts";
import { formatPortRange } from "../ports.ts";
import { backendOf } from "./backend_of.ts";
import { type Command, configPath, logOf } from "./context.ts";
import { guardPlanOf } from "../server.ts";
import { recordGuard } from "./former_guard.ts";
import { interfaceFlag, withInterface } from "./interface_flag.ts";
import { loadServerConfig } from "./load.ts";

export const guard: Command = {
  summary: "close the guarded ports and exit, for early boot",
  help:
    `Closes the guarded ports, lets nobody in, and exits: for the time before the network is up. The
openme serve that comes later takes the guard over with no gap. Open connections go on.

Usage: openme guard [--interface IF]

  --interface IF   close them only to what arrives on this interface (default: server.interface)

Example:
  sudo openme guard
`,
  options: { interface: { type: "string" } },
  positionals: 0,
  run: async (args, context) => {
    const interfaceName = interfaceFlag(args);
    const { config: read } = await loadServerConfig(configPath(args));
    const config = withInterface(read, interfaceName);
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
    const on = config.interface === undefined ? "" : ` on ${config.interface}`;
    context.stderr(
      `openme: closed by ${backend.name}${on}: ${
        config.guardedPorts.map(formatPortRange).join(" ")
      }`,
    );
    return 0;
  },
};
