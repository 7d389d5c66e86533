/** Ports as everything for people shows them. */

import type { ServerConfig } from "./config/server_config.ts";
import { formatPortRange, type PortRange, subtractPortRanges } from "./ports.ts";

/**
 * What was asked for; the health port comes with every grant and is left out, where a configuration says which it is.
 */
export function shownPorts(
  ports: readonly PortRange[],
  config: Pick<ServerConfig, "healthPort"> | undefined,
): string[] {
  const health = config
    ? [{ protocol: "tcp", first: config.healthPort, last: config.healthPort } as const]
    : [];
  return subtractPortRanges(ports, health).map(formatPortRange);
}
