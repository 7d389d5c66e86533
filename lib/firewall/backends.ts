/**
 * The table of backends: an entry for each, loaded only when it is used. To add one is a file, an entry here, one in
 * `config/firewall_names.ts` and one in the conformance test (docs/firewalls.md). Nothing happens on import.
 */

import type { CommandLines } from "../config/firewall_config.ts";
import type { BackendName } from "../config/firewall_names.ts";
import type { Log } from "../log.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend, GuardPlan } from "./backend.ts";
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
}

/** Makes a backend; changes nothing yet. Throws where its program is missing, as far as it looks that early. */
export type MakeBackend = (parts: BackendParts) => Promise<Backend>;

/** What is known of a backend without making it. */
export interface BackendFacts {
  /**
   * Where there may be something of openme's, for `uninstall`: where this program works, or where the configuration
   * has the backend's own section. A backend that leaves nothing touches nothing.
   */
  readonly leaves: readonly [program: string, ...args: string[]] | "where configured" | "nothing";
}

const inIptables = (name: string): MakeBackend => async (parts) =>
  (await import("./iptables.ts")).makeIptables(name, parts);

export const BACKENDS: Readonly<Record<BackendName, MakeBackend & BackendFacts>> = {
  "nft": backend(
    async ({ plan, run, nftSession }) =>
      (await import("./nft.ts")).createNftBackend(plan, run, nftSession),
    { leaves: ["nft", "--version"] },
  ),
  "iptables": backend(inIptables("iptables"), { leaves: ["iptables", "--version"] }),
  "iptables-nft": backend(inIptables("iptables-nft"), { leaves: ["iptables-nft", "--version"] }),
  "iptables-legacy": backend(inIptables("iptables-legacy"), {
    leaves: ["iptables-legacy", "--version"],
  }),
  "pf": backend(
    async ({ plan, run }) => (await import("./pf.ts")).createPfBackend(plan, run),
    { leaves: ["pfctl", "-s", "info"] },
  ),
  "firewalld": backend(
    async ({ plan, run }) => (await import("./firewalld.ts")).createFirewalldBackend(plan, run),
    { leaves: ["firewall-cmd", "--state"] },
  ),
  "command": backend(
    async (parts) => (await import("./command.ts")).makeCommand(parts),
    { leaves: "where configured" },
  ),
  "none": backend(
    async () => (await import("./none.ts")).createNoneBackend(),
    { leaves: "nothing" },
  ),
};

function backend(make: MakeBackend, facts: BackendFacts): MakeBackend & BackendFacts {
  return Object.assign(make, facts);
}
