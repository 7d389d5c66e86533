/** Rules of other people, as many as a test or the bench wants. */

import assert from "node:assert/strict";
import type { Lab } from "./lab.ts";

/** What an ordinary user's nft can send at once: in a user namespace it cannot enlarge the buffer of its socket. */
const AT_ONCE = 5000;

/** A blocklist of so many networks, in a table of its own, in one transaction. */
export function blocklist(size: number, table = "blocklist"): string {
  return `add table inet ${table}
add set inet ${table} addresses { type ipv4_addr; flags interval; }
add chain inet ${table} input { type filter hook input priority -10; }
add rule inet ${table} input ip saddr @addresses drop
flush set inet ${table} addresses
add element inet ${table} addresses { ${networks(size).join(", ")} }
`;
}

/** Puts a blocklist into the server's kernel, in pieces where it has to be. */
export async function loadBlocklist(lab: Lab, size: number): Promise<void> {
  const { code, stderr } = await lab.output("server", ["nft", "-f", "-"], blocklist(size));
  if (code === 0) return;
  assert.match(stderr, /Message too long/);
  await lab.nft(blocklist(1));
  const all = networks(size);
  for (let i = 0; i < size; i += AT_ONCE) {
    const elements = all.slice(i, i + AT_ONCE).join(", ");
    await lab.nft(
      `table inet blocklist { set addresses { type ipv4_addr; flags interval; elements = { ${elements} }; }; }`,
    );
  }
}

function networks(size: number): string[] {
  return Array.from(
    { length: size },
    (_, i) => `${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.${(i * 7) % 250}`,
  );
}

/** So many rules in chains that an input chain jumps to, as beside many container networks. */
export function ruleset(size: number): string {
  const PER_CHAIN = 1000;
  const chains = Array.from({ length: Math.ceil(size / PER_CHAIN) }, (_, chain) => {
    const rules = Array.from(
      { length: PER_CHAIN },
      (_, i) =>
        `    ip saddr 10.${100 + chain}.${i >> 8}.${i & 255} tcp dport ${1000 + i} accept\n`,
    );
    return `  chain network${chain} {\n${rules.join("")}  }\n`;
  });
  return `table inet networks {
${chains.join("")}  chain input {
    type filter hook input priority 0; policy accept;
${
    chains.map((_, chain) => `    ip saddr 10.${100 + chain}.0.0/16 jump network${chain}\n`).join(
      "",
    )
  }  }
}
`;
}
