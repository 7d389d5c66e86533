/** Rules of `firewall: command` that no grant covers, as the running server sees them or as its journal says. */

import type { ServerConfig } from "../config/server.ts";
import { askServer } from "../control/socket.ts";
import type { FirewallReport } from "../control/requests.ts";
import { readJournal } from "../firewall/command/journal.ts";
import type { Grant } from "../grants.ts";
import { formatNetwork } from "../values/network.ts";
import { formatPortRange, subtractPortRanges } from "../values/ports.ts";

/** A rule, and whether it was seen; one of a dead server may be gone. */
export interface RuleWithoutGrant {
  readonly address: string;
  readonly ports: readonly string[];
  readonly seen: boolean;
}

/** None for a firewall that ends grants by itself. Throws `STATE` where no server runs and its journal is damaged. */
export async function rulesWithoutGrant(
  { config, stateDir, grants }: {
    config: ServerConfig | undefined;
    stateDir: string;
    grants: readonly Grant[];
  },
): Promise<RuleWithoutGrant[]> {
  if (config?.firewall !== "command") return [];
  try {
    const { examination } = await askServer(stateDir, { command: "check" }) as FirewallReport;
    return (examination?.withoutGrant ?? []).map((rule) => ({ ...rule, seen: true }));
  } catch {
    // No server runs: its journal tells.
  }
  return readJournal(stateDir).filter(({ address, ports }) => {
    const granted = grants.filter((grant) =>
      formatNetwork(grant.address) === formatNetwork(address)
    ).flatMap((grant) => grant.ports);
    return subtractPortRanges([ports], granted).length > 0;
  }).map(({ address, ports }) => ({
    address: formatNetwork(address),
    ports: [formatPortRange(ports)],
    seen: false,
  }));
}
