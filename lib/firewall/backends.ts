/**
 * The table of backends: all that is known of each without making it, and how it is made. To add one is a file, an entry
 * here and a line in the conformance test (docs/firewalls.md). The configuration reads the names and facts: so nothing
 * but types is imported, and a backend is loaded when it is made.
 */

import type { CommandLines } from "../config/firewall_config.ts";
import type { ClosedAs } from "../config/firewall_names.ts";
import type { Log } from "../log.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend, GuardPlan } from "./backend.ts";
import type { ReadGeneration } from "./nft_generation.ts";
import type { NftSession } from "./nft_session.ts";

/** What backends are made of. */
export interface BackendParts {
  readonly plan: GuardPlan;
  readonly run: RunProgram;
  readonly log: Log;
  /** What must outlive the process goes here. */
  readonly stateDir: string;
  readonly command: CommandLines | undefined;
  /** Where `run` leads to this process's own namespace: what makes changes quicker there. */
  readonly nftSession?: NftSession | undefined;
  /** The same: what says that no rule of nf_tables was changed. */
  readonly readGeneration?: ReadGeneration | undefined;
}

/** What is known of a backend. */
export interface BackendEntry {
  /** How it can close guarded ports; not at all where it leaves that to the host's own firewall. */
  readonly closesAs: readonly ClosedAs[];
  /**
   * Where there may be something of openme's, for `uninstall`: where this program works, or where the configuration
   * has the backend's own section. A backend that leaves nothing touches nothing.
   */
  readonly leaves: readonly [program: string, ...args: string[]] | "where configured" | "nothing";
  /** Whether its first `install` takes out what another of openme's guards left in nft or iptables. */
  readonly clearsLeftOvers: boolean;
  /** Makes it; changes nothing yet. Throws where its program is missing, as far as it looks that early. */
  readonly make: (parts: BackendParts) => Promise<Backend>;
}

/** Every backend by the name that `server.firewall` gives it, in the order in which people are told of them. */
const TABLE = {
  "nft": {
    closesAs: ["drop", "reject"],
    leaves: ["nft", "--version"],
    clearsLeftOvers: true,
    make: async ({ plan, run, nftSession: session, readGeneration }) =>
      (await import("./nft.ts")).createNftBackend(plan, run, { session, readGeneration }),
  },
  "iptables": iptables("iptables"),
  "iptables-nft": iptables("iptables-nft"),
  "iptables-legacy": iptables("iptables-legacy"),
  "pf": {
    closesAs: ["drop", "reject"],
    leaves: ["pfctl", "-s", "info"],
    clearsLeftOvers: false,
    make: async ({ plan, run }) => (await import("./pf.ts")).createPfBackend(plan, run),
  },
  "firewalld": {
    closesAs: [],
    leaves: ["firewall-cmd", "--state"],
    clearsLeftOvers: false,
    make: async ({ plan, run }) =>
      (await import("./firewalld.ts")).createFirewalldBackend(plan, run),
  },
  "command": {
    closesAs: [],
    leaves: "where configured",
    clearsLeftOvers: false,
    make: async (parts) => (await import("./command.ts")).makeCommand(parts),
  },
  "none": {
    closesAs: ["drop", "reject"],
    leaves: "nothing",
    clearsLeftOvers: false,
    make: async ({ plan, run }) => (await import("./none.ts")).createNoneBackend(plan, run),
  },
} satisfies Readonly<Record<string, BackendEntry>>;

export type BackendName = keyof typeof TABLE;

export const BACKENDS: Readonly<Record<BackendName, BackendEntry>> = TABLE;

function iptables(program: string): BackendEntry {
  return {
    // REJECT belongs to the filter table: too late for a guard that covers published ports.
    closesAs: ["drop"],
    leaves: [program, "--version"],
    clearsLeftOvers: true,
    make: async (parts) => (await import("./iptables.ts")).makeIptables(program, parts),
  };
}
