/** Ports as everything for people shows them. */

import type { ServerConfig } from "./config/server_config.ts";
import { formatPortRange, type PortRange, subtractPortRanges } from "./ports.ts";

/** What was asked for; the health port comes with every grant and is left out. */
export function shownPorts(ports: readonly PortRange[], { healthPort }: ServerConfig): string[] {
  const health: PortRange = { protocol: "tcp", first: healthPort, last: healthPort };
  return subtractPortRanges(ports, [health]).map(formatPortRange);
}
