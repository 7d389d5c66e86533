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
    lifetimeMs: config.clients.reduce(
      (longest, { rules, extensions }) =>
        Math.max(longest, rules?.lifetimeMs ?? 0, ...extensions.map(({ mostMs }) => mostMs)),
      config.knockTimeoutMs,
    ),
    activeMs: config.clients.some(({ extensions }) => extensions.length > 0)
      ? config.knockTimeoutMs
      : undefined,
  };
}

function prefixesOf({ clients }: ServerConfig): Prefix[] {
  const [v4, v6] = [new Set<number>(), new Set<number>()];
  for (const { prefix } of clients) {
    v4.add(prefix.v4);
    v6.add(prefix.v6);
  }
  const lengths = (family: 4 | 6, all: ReadonlySet<number>) =>
    [...all].filter((length) => length < fullLength(family)).sort((a, b) => a - b)
      .map((length) => ({ family, length }));
  return [...lengths(4, v4), ...lengths(6, v6)];
}
