/** The backend of a configuration, for the subcommands that work on the firewall without `serve`. */

import type { ServerConfig } from "../config/server.ts";
import type { Backend } from "../firewall/backend.ts";
import { chooseBackend } from "../firewall/choose.ts";
import { showingParts } from "../firewall/none.ts";
import type { Log } from "../system/log.ts";
import { guardPlanOf } from "../config/guard_plan.ts";
import type { Context } from "./context.ts";

/** Makes the backend that the configuration asks for, for its plan. With `show` it changes nothing, and says what it would. */
export function backendOf(
  config: ServerConfig,
  { context, log, show }: { context: Context; log: Log; show?: (text: string) => void },
): Promise<Backend> {
  const parts = {
    plan: guardPlanOf(config),
    run: context.run,
    log,
    stateDir: config.stateDir,
    command: config.command,
  };
  return chooseBackend(config.firewall, show ? showingParts(parts, show) : parts);
}
