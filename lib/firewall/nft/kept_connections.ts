/**
 * The connections that go on though connection tracking has forgotten them, as rule text: pure. They are those that were
 * there when the guard came, and from then on the kernel notes each that is established. After `conntrack -F` what comes
 * from one of them is new, and its grant may be over.
 *
 * A note is for both ends, addresses and ports, and lets in nothing that begins a connection: where no socket is behind
 * it, nothing comes of it. What destination NAT leads elsewhere is not noted: `close --kill` cuts that by taking it out
 * of connection tracking.
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
