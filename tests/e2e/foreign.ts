/** Rules of other people, as many as a test or the bench wants. */

/** A blocklist of so many networks, in a table of its own. */
export function blocklist(size: number): string {
  const networks = Array.from(
    { length: size },
    (_, i) => `${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.${(i * 7) % 250}`,
  );
  return `add table inet blocklist
add set inet blocklist addresses { type ipv4_addr; flags interval; }
add chain inet blocklist input { type filter hook input priority -10; }
add rule inet blocklist input ip saddr @addresses drop
flush set inet blocklist addresses
add element inet blocklist addresses { ${networks.join(", ")} }
`;
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
