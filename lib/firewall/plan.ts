/**
 * What a guard is to be, as data: the plan, the names of the backends and how each can close ports, and the names that
 * openme's rules bear in every firewall. The configuration and every backend read it.
 */

import type { PortRange } from "../values/ports.ts";

/** What to guard, and how. */
export interface GuardPlan {
  /** Where knocks arrive: never guarded. */
  readonly knockPort: number;
  readonly guardedPorts: readonly PortRange[];
  /** Guarded ports that are guarded in forwarded traffic as well. Disjoint; a part of `guardedPorts`. */
  readonly forwardedPorts: readonly PortRange[];
  /** Whether openme closes the guarded ports itself; otherwise the host's own firewall does. */
  readonly dropPorts: boolean;
  /** What a stranger sees of a guarded port: nothing at all, or a refusal as of a closed one. */
  readonly closedAs: ClosedAs;
  /** Whether the host's own firewall has to be made to let knocks in. */
  readonly openKnockPort: boolean;
  /** Whether knocks without a stamp are dropped; otherwise all of them share one rate. */
  readonly onlyStampedKnocks: boolean;
  /** The one interface to guard, or all. */
  readonly interface: string | undefined;
  /** The one bit of the packet mark that let-in traffic carries where the host's own chains need a hole. */
  readonly mark: number;
  /** How wide grants may be beside single addresses. Without duplicates. */
  readonly prefixes: readonly Prefix[];
  /** For how long a knock opens, ms. */
  readonly lifetimeMs: number;
  /** For how long traffic keeps open what may stay open while it is used, ms; `undefined` where nothing may. */
  readonly activeMs?: number | undefined;
}

/** One line of JSON. `stored_plan.ts` reads it. */
export function printPlan(plan: GuardPlan): string {
  return JSON.stringify(plan);
}

/** Networks of one size. */
export interface Prefix {
  readonly family: 4 | 6;
  readonly length: number;
}

/** A program and its arguments for each thing that the backend `command` does. */
export interface CommandLines {
  readonly open: readonly string[];
  readonly close: readonly string[];
  /** Prints what stands in the firewall. Without it nothing can be verified. */
  readonly list?: CommandList;
}

/** How openme finds its own rules in what a program prints. */
export interface CommandList {
  readonly line: readonly string[];
  /** A whole line of the output, with placeholders. Every line that matches is a rule of openme's. */
  readonly entry: string;
}

/** What a stranger sees of a guarded port: nothing at all, or a refusal as of a closed one. */
export const CLOSED_AS = ["drop", "reject"] as const;
export type ClosedAs = typeof CLOSED_AS[number];

/**
 * Every backend by the name that `server.firewall` gives it, in the order in which people are told of them, with the
 * ways in which it can close guarded ports: none where it leaves that to the host's own firewall.
 */
const CLOSES_AS = {
  "nft": ["drop", "reject"],
  // REJECT belongs to the filter table: too late for a guard that covers published ports.
  "iptables": ["drop"],
  "iptables-nft": ["drop"],
  "iptables-legacy": ["drop"],
  "pf": ["drop", "reject"],
  "firewalld": [],
  "command": [],
  "none": ["drop", "reject"],
} satisfies Readonly<Record<string, readonly ClosedAs[]>>;

export type BackendName = keyof typeof CLOSES_AS;

/** What `server.firewall` may say; `auto` looks for one that works on this host. */
export type FirewallName = BackendName | "auto";
export const BACKEND_NAMES = Object.keys(CLOSES_AS) as readonly BackendName[];
export const FIREWALLS: readonly FirewallName[] = ["auto", ...BACKEND_NAMES];

/** Whether a name is a backend's. */
export function isBackendName(name: string): name is BackendName {
  return Object.hasOwn(CLOSES_AS, name);
}

/** Whether a backend closes guarded ports itself; `auto` may. */
export function closesPorts(name: FirewallName): boolean {
  return name === "auto" || CLOSES_AS[name].length > 0;
}

/** Why a backend cannot close the ports in this way; `undefined` where it can, and for `auto`. */
export function closingFlaw(
  name: string,
  { dropPorts, closedAs }: { dropPorts: boolean; closedAs: ClosedAs },
): { key: "drop_ports" | "closed_as"; problem: string; hint: string } | undefined {
  if (!dropPorts || !isBackendName(name)) return undefined;
  const ways: readonly ClosedAs[] = CLOSES_AS[name];
  if (ways.includes(closedAs)) return undefined;
  if (ways.length === 0) {
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

/**
 * Datagrams without a stamp that may reach the server in a second, of all sources together: knocks of other programs, and
 * junk. As many as it judges in half a processor.
 */
export const UNSTAMPED_PER_SECOND = 5000;

/** The table of nft. */
export const TABLE = "inet openme";

/** The chain of iptables; the names of openme's further chains begin with it. */
export const CHAIN = "OPENME";

/** On every rule that openme puts into a chain of the host. */
export const HOLE_COMMENT = "openme: what was knocked for";

/** Names of network interfaces that a rule may hold. */
export const INTERFACE_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,14}$/;
