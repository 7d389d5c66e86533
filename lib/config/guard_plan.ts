/** What of a configuration concerns the firewall. */

import type { GuardPlan, Prefix } from "../firewall/plan.ts";
import { fullLength } from "../values/network.ts";
import type { ServerConfig } from "./server.ts";

/** The guard that a configuration asks for. */
export function guardPlanOf(config: ServerConfig): GuardPlan {
  const { udpPort: knockPort, guardedPorts, forwardedPorts, dropPorts, closedAs } = config;
  const { openKnockPort, onlyStampedKnocks, mark, interface: interfaceName } = config;
  return {
    knockPort,
    guardedPorts,
    forwardedPorts,
    dropPorts,
    closedAs,
    openKnockPort,
    onlyStampedKnocks,
    interface: interfaceName,
    mark,
    prefixes: prefixesOf(config),
    lifetimeMs: config.knockTimeoutMs,
  };
}

function prefixesOf({ clients }: ServerConfig): Prefix[] {
  const lengths = (family: 4 | 6, all: number[]) =>
    [...new Set(all)].filter((length) => length < fullLength(family)).sort((a, b) => a - b)
      .map((length) => ({ family, length }));
  return [
    ...lengths(4, clients.map(({ prefix }) => prefix.v4)),
    ...lengths(6, clients.map(({ prefix }) => prefix.v6)),
  ];
}
