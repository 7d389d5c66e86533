/** What `server.firewall` may say, and whether what is asked of the named backend is in its power. */

import { type BackendName, BACKENDS } from "../firewall/backends.ts";

/** What a stranger sees of a guarded port: nothing at all, or a refusal as of a closed one. */
export const CLOSED_AS = ["drop", "reject"] as const;
export type ClosedAs = typeof CLOSED_AS[number];

/** What `server.firewall` may say; `auto` looks for one that works on this host. */
export type FirewallName = BackendName | "auto";
export const FIREWALLS = ["auto", ...Object.keys(BACKENDS)] as readonly FirewallName[];

/** Whether a name is a backend's. */
export function isBackendName(name: string): name is BackendName {
  return Object.hasOwn(BACKENDS, name);
}

/** Whether a backend closes guarded ports itself; `auto` may. */
export function closesPorts(name: FirewallName): boolean {
  return name === "auto" || BACKENDS[name].closesAs.length > 0;
}

/** Why a backend cannot close the ports as it is asked to; `undefined` where it can, and where only `auto` will tell. */
export function closingFlaw(
  name: string,
  { dropPorts, closedAs }: { dropPorts: boolean; closedAs: ClosedAs },
): { key: "drop_ports" | "closed_as"; problem: string; hint: string } | undefined {
  if (!dropPorts || !isBackendName(name)) return undefined;
  const ways = BACKENDS[name].closesAs;
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
