/**
 * The table of backends: a line for each, loaded only when it is used. The names are those of `server.firewall`; to add
 * one is a file, a line here and a line in the conformance test (docs/firewalls.md). Nothing happens on import.
 */

import type { CommandLines } from "../config/firewall_config.ts";
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

export const BACKENDS = {
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
} as const satisfies Readonly<Record<string, MakeBackend>>;

export type BackendName = keyof typeof BACKENDS;

/** What `server.firewall` may say. */
export type FirewallName = BackendName | "auto";
export const FIREWALLS = ["auto", ...Object.keys(BACKENDS)] as readonly FirewallName[];
