/** The backend of a configuration, for the subcommands that work on the firewall without `serve`. */

import type { ServerConfig } from "../config/server.ts";
import type { Backend } from "../firewall/backend.ts";
import { chooseBackend } from "../firewall/choose.ts";
import type { Log } from "../system/log.ts";
import { guardPlanOf } from "../server.ts";
import type { Context } from "./context.ts";

/** Makes the backend that the configuration asks for, for its plan. */
export function backendOf(
  config: ServerConfig,
  { context, log, stateDir = config.stateDir }: { context: Context; log: Log; stateDir?: string },
): Promise<Backend> {
  return chooseBackend(config.firewall, {
    plan: guardPlanOf(config),
    run: context.run,
    log,
    stateDir,
    command: config.command,
  });
}
