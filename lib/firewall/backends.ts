/**
 * The table of backends: a line for each, loaded only when it is used. To add one is a file, a line here, its name in
 * `config/firewall_names.ts` and a line in the conformance test (docs/firewalls.md). Nothing happens on import.
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

export const BACKENDS: Readonly<Record<BackendName, MakeBackend>> = {
  "nft": async ({ plan, run, nftSession }) =>
    (await import("./nft.ts")).createNftBackend(plan, run, nftSession),
  "iptables": async (parts) => (await import("./iptables.ts")).makeIptables("iptables", parts),
  "iptables-nft": async (parts) =>
    (await import("./iptables.ts")).makeIptables("iptables-nft", parts),
  "iptables-legacy": async (parts) =>
    (await import("./iptables.ts")).makeIptables("iptables-legacy", parts),
  "pf": async ({ plan, run }) => (await import("./pf.ts")).createPfBackend(plan, run),
  "command": async (parts) => (await import("./command.ts")).makeCommand(parts),
  "none": async () => (await import("./none.ts")).createNoneBackend(),
};
