/** `openme guard`: closes the guarded ports and exits, for the time before `serve` runs. */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import { isBackendName } from "../../firewall/plan.ts";
import { BACKENDS } from "../../firewall/catalog.ts";
import { printPlan } from "../../firewall/plan.ts";
import { formatPortRange } from "../../values/ports.ts";
import { makeStateDir } from "../../state/directory.ts";
import { recordGuard } from "../../state/guard_record.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { backendOf } from "../backend_of.ts";
import { type Command, configPath, type Context, logOf } from "../context.ts";
import type { ServerConfig } from "../../config/server.ts";
import { guardPlanOf } from "../../config/guard_plan.ts";
import { interfaceFlag, withInterface } from "../flags.ts";
import { loadServerConfig } from "../load.ts";

export const guard: Command = {
  about:
    `Closes the guarded ports to everyone and exits, for the time before the network is up. The openme
serve that starts later takes the guard over with no gap. Open connections go on.`,
  parameters: {
    "--interface IF":
      `close them only to what arrives on this interface (default: server.interface)`,
  },
  example: "sudo openme guard",
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
    record(config, context);
    const on = config.interface === undefined ? "" : ` on ${config.interface}`;
    context.stderr(
      `openme: closed by ${backend.name}${on}: ${
        config.guardedPorts.map(formatPortRange).join(" ")
      }`,
    );
    return 0;
  },
};

/** Records the plan for the roll-back of a later `serve --confirm`. Where it cannot, the ports are closed all the same. */
function record(config: ServerConfig, { stderr }: Context): void {
  try {
    makeStateDir(config.stateDir);
    recordGuard(config.stateDir, printPlan(guardPlanOf(config)));
  } catch (error) {
    stderr(
      `openme: warning: this guard could not be recorded, and serve --confirm would not put it back: ${
        escapeUnprintable(messageOf(error))
      }`,
    );
  }
}
