/** The names that `server.firewall` may say. What is behind each of them is for `lib/firewall/backends.ts`. */

/** Every backend, in the order in which people are told of them. */
export const BACKEND_NAMES = [
  "nft",
  "iptables",
  "iptables-nft",
  "iptables-legacy",
  "pf",
  "command",
  "none",
] as const;
export type BackendName = typeof BACKEND_NAMES[number];

/** `auto` looks for one that works on this host. */
export const FIREWALLS = ["auto", ...BACKEND_NAMES] as const;
export type FirewallName = typeof FIREWALLS[number];
