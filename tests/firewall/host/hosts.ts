/** Hosts with firewalls of their own: how they are set up, and what openme has to know of them. */

/** One host. Its listing, as the real nft printed it, is in golden/ under its name. */
export interface Host {
  readonly name: string;
  readonly why: string;
  /** Text for `nft -f -`, or arguments for `iptables-nft` and `ip6tables-nft` one line each. */
  readonly nft?: string;
  readonly iptables?: readonly string[];
  /** The chains of others where packets for this host are filtered, and whether each may drop. */
  readonly chains: Readonly<Record<string, boolean>>;
  /** Which of the ports 22/tcp, 443/tcp, 8080-8090/tcp and 53/udp strangers can reach. */
  readonly open: readonly string[];
}

const CLOSED_INPUT = `type filter hook input priority 0; policy drop
    ct state established,related accept
    iif "lo" accept
    meta l4proto ipv6-icmp accept`;

/** A chain that drops what none of these rules accepts. */
function closed(...rules: string[]): string {
  return `table inet filter {
  chain input {
    ${[CLOSED_INPUT, ...rules].join("\n    ")}
  }
}`;
}

const EVERYTHING = ["22/tcp", "443/tcp", "8080-8090/tcp", "53/udp"];

export const HOSTS: readonly Host[] = [
  { name: "host_empty", why: "without any rules", nft: "", chains: {}, open: EVERYTHING },
  {
    name: "host_policy_drop",
    why: "whose policy is drop",
    nft: closed(),
    chains: { "inet filter input": true },
    open: [],
  },
  {
    name: "host_last_rule_drops",
    why: "whose last rule drops",
    nft: `table ip filter {
  chain INPUT {
    type filter hook input priority 0; policy accept
    ct state established,related accept
    ip saddr 192.0.2.0/24 accept
    counter drop
  }
}
table ip6 filter {
  chain INPUT {
    type filter hook input priority 0; policy accept
    ct state established,related accept
    reject with icmpv6 admin-prohibited
  }
}`,
    chains: { "ip filter INPUT": true, "ip6 filter INPUT": true },
    open: [],
  },
  {
    name: "host_jumps",
    why: "that drops in a chain it jumps to",
    nft: `table inet filter {
  chain sub { tcp dport 23 drop; }
  chain other { drop; }
  chain input {
    type filter hook input priority filter; policy accept
    ip saddr 203.0.113.0/24 jump sub
  }
  chain late {
    type filter hook input priority 10; policy accept
    tcp dport vmap { 25 : drop, 26 : accept }
  }
  chain last {
    type filter hook input priority 20; policy accept
    udp dport 1900 goto other
  }
}`,
    chains: { "inet filter input": true, "inet filter late": true, "inet filter last": true },
    open: EVERYTHING,
  },
  {
    name: "host_harmless",
    why: "that only counts, logs, marks and accepts",
    nft: `table inet filter {
  chain input {
    type filter hook input priority 0; policy accept
    counter
    ct state established,related accept
    tcp dport 22 log prefix "ssh: "
    tcp dport 80 limit rate 10/second accept
    meta mark set 0x1
    ip saddr 203.0.113.9 return
  }
}`,
    chains: { "inet filter input": false },
    open: EVERYTHING,
  },
  {
    name: "host_other_hooks",
    why: "that filters everything but what comes to it",
    nft: `table inet router {
  chain forward { type filter hook forward priority 0; policy drop; }
  chain output { type filter hook output priority 0; policy drop; }
  chain prerouting { type filter hook prerouting priority 0; policy accept; }
  chain nat { type nat hook input priority 100; policy accept; }
  chain input { tcp dport 22 drop; }
}
table inet openme {
  chain input { type filter hook input priority 0; policy drop; }
}`,
    chains: {},
    open: EVERYTHING,
  },
  {
    name: "host_accepts",
    why: "that accepts some of the ports",
    nft: closed(
      "tcp dport 22 accept",
      "tcp dport { 80, 443 } counter accept",
      "tcp dport 8085-9000 accept",
      "ip saddr 192.0.2.0/24 udp dport 53 accept",
    ),
    chains: { "inet filter input": true },
    open: ["22/tcp", "443/tcp", "8085-8090/tcp"],
  },
  {
    name: "host_accepts_new",
    why: "that accepts new connections, as most do",
    nft: closed(
      "ct state new tcp dport 22 accept",
      "ct state { new, untracked } udp dport 53 accept",
      "meta l4proto { tcp, udp } th dport 443 accept",
      'ip protocol tcp tcp dport 8080-8090 log prefix "web: " accept',
    ),
    chains: { "inet filter input": true },
    open: EVERYTHING,
  },
  {
    name: "host_accepts_others",
    why: "that accepts, but not everyone, or something else",
    nft: closed(
      "ip saddr 192.0.2.0/24 tcp dport 22 accept",
      "ip6 saddr fd00::/8 tcp dport 22 accept",
      "ct state established tcp dport 22 accept",
      "udp dport 443 accept",
      "tcp sport 443 accept",
      "tcp dport != 443 ip saddr 192.0.2.1 accept",
      "tcp dport 53 accept",
      "udp dport != 53 accept",
      "tcp dport 8091-9000 accept",
      "meta mark 0x7 accept",
      "tcp dport 22 drop",
      "tcp dport 8080 log",
    ),
    chains: { "inet filter input": true },
    open: [],
  },
  {
    name: "host_accepts_all",
    why: "that accepts everything before its policy could drop it",
    nft: closed("counter accept"),
    chains: { "inet filter input": true },
    open: EVERYTHING,
  },
  {
    name: "host_two_chains",
    why: "with two chains in a row, where one accept is not enough",
    nft: `table inet first {
  chain input {
    type filter hook input priority -10; policy drop
    tcp dport { 22, 443 } accept
  }
}
table inet second {
  chain input {
    type filter hook input priority 10; policy drop
    tcp dport { 443, 8080 } accept
  }
}`,
    chains: { "inet first input": true, "inet second input": true },
    open: ["443/tcp"],
  },
  {
    name: "host_ipv4_only",
    why: "that closes IPv4 and forgets IPv6",
    nft: `table ip filter {
  chain input { type filter hook input priority 0; policy drop; }
}`,
    chains: { "ip filter input": true },
    open: EVERYTHING,
  },
  {
    name: "host_accepts_ipv6",
    why: "that closes both and accepts a port over IPv6",
    nft: `table ip filter {
  chain input { type filter hook input priority 0; policy drop; }
}
table ip6 filter {
  chain input {
    type filter hook input priority 0; policy drop
    tcp dport 22 accept
  }
}`,
    chains: { "ip filter input": true, "ip6 filter input": true },
    open: ["22/tcp"],
  },
  {
    name: "host_iptables",
    why: "set up by iptables-nft",
    iptables: [
      "-P INPUT DROP",
      "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
      "-A INPUT -i lo -j ACCEPT",
      "-A INPUT -p tcp --dport 443 -j ACCEPT",
      "-A INPUT -p tcp -s 192.0.2.0/24 --dport 22 -j ACCEPT",
    ],
    chains: { "ip filter INPUT": true, "ip6 filter INPUT": true },
    open: ["443/tcp"],
  },
];

/** What firewalld makes of its zone `public`, made smaller. */
export const FIREWALLD =
  `set services { type inet_service; flags interval; elements = { 80, 440-445 }; }
map zones { type ifname : verdict; elements = { "eth0" : goto filter_IN_public }; }
chain filter_IN_public_allow { tcp dport @services accept; }
chain filter_IN_public {
  jump filter_IN_public_allow
  meta l4proto { icmp, ipv6-icmp } accept
}
chain filter_INPUT_ZONES {
  iifname vmap @zones
  goto filter_IN_public
}
chain filter_INPUT {
  type filter hook input priority 10; policy accept;
  ct state { established, related } accept
  ct status dnat accept
  iifname "lo" accept
  jump filter_INPUT_ZONES
  ct state invalid drop
  reject with icmpx admin-prohibited
}`;
