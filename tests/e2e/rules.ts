/** The two ways in which a server can be guarded, and what of its ruleset belongs to whom. */

import assert from "node:assert/strict";

/** Somebody else's rules, of several kinds: they must be the same bytes whatever openme does. */
const FOREIGN_RULES = `table ip router {
  set neighbours { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 } }
  map services { type inet_service : ipv4_addr; elements = { 8443 : 192.0.2.1 } }
  chain forward {
    type filter hook forward priority 0; policy drop
    ip saddr @neighbours accept comment "not of openme"
  }
  chain nat {
    type nat hook prerouting priority dstnat; policy accept
    dnat to tcp dport map @services
  }
}`;

/** A host that drops what it does not know. */
export const HOST_RULES = `table inet filter {
  chain input {
    type filter hook input priority 0; policy drop
    ct state established,related accept
    iif lo accept
    meta l4proto ipv6-icmp accept
  }
}`;

/** One way to guard. */
export interface Mode {
  readonly title: string;
  readonly dropPorts: boolean;
  /** What the host has before openme comes. */
  readonly hostRules: string;
  /** How many rules openme puts into the host's chains. */
  readonly holes: number;
}

export const OWN_TABLE: Mode = {
  title: "drop_ports: true",
  dropPorts: true,
  hostRules: FOREIGN_RULES,
  holes: 0,
};
export const HOST_FIREWALL: Mode = {
  title: "drop_ports: false",
  dropPorts: false,
  hostRules: `${FOREIGN_RULES}\n${HOST_RULES}`,
  holes: 1,
};
/** Both close: the host's firewall needs a hole, and openme's guard is there as well. */
export const BOTH: Mode = {
  title: "drop_ports: true behind a host firewall",
  dropPorts: true,
  hostRules: `${FOREIGN_RULES}\n${HOST_RULES}`,
  holes: 1,
};

/** A ruleset as `nft` lists it, taken apart. */
export interface ParsedRuleset {
  /** Everything that is not openme's, as it was. */
  readonly foreign: string;
  /** The rules that openme has put into other tables, in order. */
  readonly holes: readonly string[];
  readonly hasTable: boolean;
}

/** Separates openme's table and its holes from the rest. A hole must be the first rule of its chain. */
export function parseRuleset(ruleset: string): ParsedRuleset {
  const foreign: string[] = [];
  const holes: string[] = [];
  let inTable = false;
  let hasTable = false;
  for (const line of ruleset.split("\n")) {
    if (line === "table inet openme {") hasTable = inTable = true;
    else if (inTable) inTable = line !== "}";
    else if (/^\s.* accept comment "openme/.test(line)) {
      assert.match(foreign.at(-1) ?? "", /^\s+type filter hook input .* policy drop;$/);
      holes.push(line.trim());
    } else foreign.push(line);
  }
  return { foreign: foreign.join("\n"), holes, hasTable };
}
