/**
 * The table of backends: how each is made, and what else is known of it without making it. To add one is a file, its
 * name in `plan.ts`, an entry here and a line in the conformance test (docs/firewalls.md). Nothing but types is imported:
 * a backend is loaded when it is made.
 */

import type { Backend, BackendParts } from "./backend.ts";
import type { BackendName } from "./plan.ts";

/** What is known of a backend. */
export interface BackendEntry {
  /**
   * Where `uninstall` looks for rules of openme's: where this program works, or where the configuration has the
   * backend's own section.
   */
  readonly leaves: readonly [program: string, ...args: string[]] | "where configured" | "nothing";
  /** Whether its first `install` takes out orphaned guards in nft and iptables. */
  readonly clearsOrphans: boolean;
  /** Makes it; changes nothing yet. Throws where its program is missing, as far as it looks that early. */
  readonly make: (parts: BackendParts) => Promise<Backend>;
}

/** Every backend by its name. */
export const BACKENDS: Readonly<Record<BackendName, BackendEntry>> = {
  "nft": {
    leaves: ["nft", "--version"],
    clearsOrphans: true,
    make: async ({ plan, run, ...parts }) =>
      (await import("./nft/backend.ts")).createNftBackend(plan, run, parts),
  },
  "iptables": iptables("iptables"),
  "iptables-nft": iptables("iptables-nft"),
  "iptables-legacy": iptables("iptables-legacy"),
  "pf": {
    leaves: ["pfctl", "-s", "info"],
    clearsOrphans: false,
    make: async ({ plan, run }) => (await import("./pf/backend.ts")).createPfBackend(plan, run),
  },
  "firewalld": {
    leaves: ["firewall-cmd", "--state"],
    clearsOrphans: false,
    make: async (parts) => (await import("./firewalld/backend.ts")).createFirewalldBackend(parts),
  },
  "command": {
    leaves: "where configured",
    clearsOrphans: false,
    make: async (parts) => (await import("./command/backend.ts")).makeCommand(parts),
  },
  "none": {
    leaves: "nothing",
    clearsOrphans: false,
    make: async ({ plan, run }) => (await import("./none.ts")).createNoneBackend(plan, run),
  },
};

function iptables(program: string): BackendEntry {
  return {
    leaves: [program, "--version"],
    clearsOrphans: true,
    make: async (parts) => (await import("./iptables/backend.ts")).makeIptables(program, parts),
  };
}
