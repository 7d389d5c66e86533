/**
 * The connections that go on though connection tracking does not know them, as rule text: pure. They are those that the
 * guard found when it was installed, and those that the kernel has noted since. After `conntrack -F` their packets count
 * as new, and their grant may be over.
 *
 * A note holds the addresses and ports of both ends, and lets in no packet that begins a connection. Connections that
 * destination NAT sends elsewhere are not noted: `close --kill` cuts those by deleting them from connection tracking.
 */

import { formatAddress } from "../../values/address.ts";
import type { Connection } from "../host/sockets.ts";

/** As many as are noted, some 30 MB at the most. A full set notes no more, and lets in those that it has. */
const MOST_KEPT = 262_144;
/** As long as connection tracking keeps what is silent. */
const KEPT = "5d";
/** Only a connection that neither side is about to end is kept for longer than this by connection tracking. */
const ENDING = "301s";

const FAMILIES = [4, 6] as const;

/** The two sets, with those that are there already. */
export function renderKeptSets(kept: readonly Connection[]): string {
  return FAMILIES.map((family) => {
    const elements = kept.filter(({ remote }) => remote.family === family).slice(0, MOST_KEPT)
      .map(renderConnection);
    const type = `ipv${family}_addr . inet_service . ipv${family}_addr . inet_service`;
    return `  set kept${family} { type ${type}; size ${MOST_KEPT}; flags dynamic, timeout; timeout ${KEPT};${
      elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} }`
    } }\n`;
  }).join("");
}

/** The chain that notes what is established, and forgets what ends. */
export function renderKeepChain(): string {
  const rules = FAMILIES.flatMap((family) => [
    `tcp flags & (fin | rst) != 0 delete @kept${family} { ${endsOf(family)} }`,
    `ct expiration > ${ENDING} update @kept${family} { ${endsOf(family)} }`,
  ]);
  return `  chain keep {\n    ct status dnat return\n${
    rules.map((rule) => `    ${rule}\n`).join("")
  }  }\n`;
}

/** Rules of the guard that let in what is noted. */
export function renderKeptRules(letIn: string): string[] {
  return FAMILIES.map((family) =>
    `tcp flags & (fin | syn | rst | ack) != syn ${endsOf(family)} @kept${family} ${letIn}`
  );
}

function endsOf(family: 4 | 6): string {
  const ip = family === 4 ? "ip" : "ip6";
  return `${ip} saddr . tcp sport . ${ip} daddr . tcp dport`;
}

function renderConnection({ remote, remotePort, local, localPort }: Connection): string {
  return `${formatAddress(remote)} . ${remotePort} . ${formatAddress(local)} . ${localPort}`;
}
