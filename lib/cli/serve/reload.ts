/** A changed configuration of a running server: what of it comes into force, and what needs a restart. */

import type { ServerConfig } from "../../config/server.ts";
import type { Backend } from "../../firewall/backend.ts";
import { requireClosable } from "../../firewall/choose.ts";
import type { Running } from "../../server.ts";
import { errorFields } from "../../system/log.ts";

/** What a running server keeps, and how the file spells it. */
const FIXED = [
  ["namedUdpPort", "udp_port"],
  ["stateDir", "state_dir"],
  ["firewall", "firewall"],
  ["command", "command"],
  ["mark", "mark"],
  ["separate", "separate"],
  ["fleet", "fleet"],
  ["metrics", "metrics"],
] as const;

/** Puts the file's configuration in force; a file that is wrong changes nothing. `started` is what serve began with. */
export async function reloadFrom(
  load: (running: { boundPort: number; former: ServerConfig }) => Promise<ServerConfig>,
  { started, backend, running: { reload, log, config: inForce } }: {
    started: ServerConfig;
    backend: Backend;
    running: Running;
  },
): Promise<void> {
  try {
    const config = await load({ boundPort: started.udpPort, former: inForce() });
    requireClosable(backend.name, config);
    const changed = FIXED.filter(([key]) =>
      JSON.stringify(config[key]) !== JSON.stringify(started[key])
    );
    if (changed.length > 0) {
      log.warn("restart_needed", {
        changed: changed.map(([, name]) => `server.${name}`).join(","),
        doing: "going on with the old value",
      });
    }
    const { namedUdpPort, stateDir, firewall, command, mark, separate, fleet, metrics } = started;
    reload({
      ...config,
      namedUdpPort,
      stateDir,
      firewall,
      command,
      mark,
      separate,
      fleet,
      metrics,
    });
  } catch (error) {
    log.error("config_rejected", {
      ...errorFields(error),
      doing: "going on with the old configuration",
    });
  }
}
