/** The backend of a configuration, for every subcommand that works on the firewall. */

import type { ServerConfig } from "../config/server.ts";
import type { Backend, BackendParts } from "../firewall/backend.ts";
import { chooseBackend } from "../firewall/choose.ts";
import { showingParts } from "../firewall/none.ts";
import type { Log } from "../system/log.ts";
import { guardPlanOf } from "../config/guard_plan.ts";
import type { Context } from "./context.ts";

/**
 * Makes the backend that the configuration asks for, for its plan. With `show` it changes nothing, and shows what it would
 * run.
 */
export function backendOf(
  config: ServerConfig,
  { context, log, show, ...more }: {
    context: Context;
    log: Log;
    show?: ((text: string) => void) | undefined;
    stateDir?: string;
  } & Pick<BackendParts, "quickSets" | "readGeneration" | "readLegacyTable" | "stamps">,
): Promise<Backend> {
  const { stateDir, command, firewall } = config;
  const plan = guardPlanOf(config);
  const parts = { plan, run: context.run, log, stateDir, command, ...more };
  return chooseBackend(firewall, show ? showingParts(parts, show) : parts);
}
