/**
 * The table of backends: an entry for each, loaded only when it is used. The names are those of `server.firewall`; to
 * add one is a file, an entry here and one in the conformance test (docs/firewalls.md). Nothing happens on import.
 */

import type { ClosedAs, CommandLines } from "../config/firewall_config.ts";
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
  /** How it can close guarded ports; not at all, where that is left to the host's own firewall. */
  readonly closesAs: readonly ClosedAs[];
  /**
   * Where there may be something of openme's, for `uninstall`: where this program works, or where the configuration
   * has the backend's own section. A backend that leaves nothing touches nothing.
   */
  readonly leaves: readonly [program: string, ...args: string[]] | "where configured" | "nothing";
}

const ALL = ["drop", "reject"] as const;
const inIptables = (name: string): MakeBackend => async (parts) =>
  (await import("./iptables.ts")).makeIptables(name, parts);

export const BACKENDS = {
  "nft": backend(
    async ({ plan, run, nftSession }) =>
      (await import("./nft.ts")).createNftBackend(plan, run, nftSession),
    { closesAs: ALL, leaves: ["nft", "--version"] },
  ),
  // REJECT belongs to the filter table: too late for a guard that covers published ports.
  "iptables": backend(inIptables("iptables"), {
    closesAs: ["drop"],
    leaves: ["iptables", "--version"],
  }),
  "iptables-nft": backend(inIptables("iptables-nft"), {
    closesAs: ["drop"],
    leaves: ["iptables-nft", "--version"],
  }),
  "iptables-legacy": backend(inIptables("iptables-legacy"), {
    closesAs: ["drop"],
    leaves: ["iptables-legacy", "--version"],
  }),
  "pf": backend(
    async ({ plan, run }) => (await import("./pf.ts")).createPfBackend(plan, run),
    { closesAs: ALL, leaves: ["pfctl", "-s", "info"] },
  ),
  "firewalld": backend(
    async ({ plan, run }) => (await import("./firewalld.ts")).createFirewalldBackend(plan, run),
    { closesAs: [], leaves: ["firewall-cmd", "--state"] },
  ),
  "command": backend(
    async (parts) => (await import("./command.ts")).makeCommand(parts),
    { closesAs: [], leaves: "where configured" },
  ),
  "none": backend(
    async () => (await import("./none.ts")).createNoneBackend(),
    { closesAs: ALL, leaves: "nothing" },
  ),
} as const satisfies Readonly<Record<string, MakeBackend & BackendFacts>>;

function backend(make: MakeBackend, facts: BackendFacts): MakeBackend & BackendFacts {
  return Object.assign(make, facts);
}

export type BackendName = keyof typeof BACKENDS;

/** What `server.firewall` may say. */
export type FirewallName = BackendName | "auto";
export const FIREWALLS = ["auto", ...Object.keys(BACKENDS)] as readonly FirewallName[];

/** Whether a name is one of {@linkcode BACKENDS}. */
export function isBackendName(name: string): name is BackendName {
  return Object.hasOwn(BACKENDS, name);
}

/** Why a backend cannot close the ports as it is asked to; `undefined` where it can, and where only `auto` will tell. */
export function closingFlaw(
  name: string,
  { dropPorts, closedAs }: { dropPorts: boolean; closedAs: ClosedAs },
): { key: "drop_ports" | "closed_as"; problem: string; hint: string } | undefined {
  if (!dropPorts || !isBackendName(name) || BACKENDS[name].closesAs.includes(closedAs)) {
    return undefined;
  }
  if (BACKENDS[name].closesAs.length === 0) {
    return {
      key: "drop_ports",
      problem: `expected false, got true: firewall: ${name} only opens and closes for clients`,
      hint: "set drop_ports: false, and let your own firewall close the ports",
    };
  }
  return {
    key: "closed_as",
    problem: `expected "drop", got "${closedAs}": ${name} cannot refuse where openme guards`,
    hint: "set closed_as: drop, or firewall: nft",
  };
}
