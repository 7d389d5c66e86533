/** What a chain of the host surely does to a first packet, in the words of nft and of iptables. */

import assert from "node:assert/strict";
import type { Traffic } from "../../../lib/firewall/host/conditions.ts";
import { type Block, findBlock } from "../../../lib/firewall/host/trace.ts";
import { listRuleset } from "../../../lib/firewall/host/nft_listing.ts";
import { parseHostChains } from "../../../lib/firewall/host/read_nft.ts";
import { formatPortRange } from "../../../lib/values/ports.ts";
import { namespaceTest } from "../namespace.ts";
import { parseFilterChains, ranges } from "../support.ts";
import { FIREWALLD } from "./hosts.ts";

function traffic(...ports: string[]): Traffic {
  return { ports: ranges(...ports), state: "new", sentOn: false };
}

/** `22/tcp: its rule 3 of INPUT`, or nothing. */
function show(block: Block | undefined): string | undefined {
  if (!block) return undefined;
  const { rule, place, ports, family } = block;
  const what = rule ? `rule ${rule.text ?? ""}`.trim() : "policy";
  return `${ports.map(formatPortRange).join(" ")} ${family} ${place}: ${what}`;
}

const UFW = `-P INPUT DROP
-N ufw-before-input
-N ufw-not-local
-N ufw-user-input
-A INPUT -j ufw-before-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -j DROP
`;

const IPTABLES: readonly { why: string; rules: string; block: string | undefined }[] = [
  { why: "an open host", rules: "-P INPUT ACCEPT\n", block: undefined },
  {
    why: "a rule that drops the port",
    rules: "-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\n",
    block: "22/tcp ip INPUT: rule -A INPUT -p tcp -m tcp --dport 22 -j DROP",
  },
  {
    why: "a policy, behind what is for others",
    rules: "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -s 192.0.2.0/24 -j ACCEPT\n",
    block: "22/tcp ip INPUT: policy",
  },
  {
    why: "a state that a new connection has not",
    rules: "-P INPUT DROP\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
    block: "22/tcp ip INPUT: policy",
  },
  {
    why: "everything but the loopback",
    rules: "-P INPUT ACCEPT\n-A INPUT ! -i lo -p tcp -m tcp --dport 22 -j DROP\n",
    block: "22/tcp ip INPUT: rule -A INPUT ! -i lo -p tcp -m tcp --dport 22 -j DROP",
  },
  {
    why: "everything that is not established",
    rules: "-P INPUT ACCEPT\n-A INPUT -m state ! --state RELATED,ESTABLISHED -j DROP\n",
    block: "22/tcp ip INPUT: rule -A INPUT -m state ! --state RELATED,ESTABLISHED -j DROP",
  },
  {
    why: "a comment that reads like a rule",
    rules: '-P INPUT ACCEPT\n-A INPUT -m comment --comment "! -s 1 -j ACCEPT" -p tcp -j DROP\n',
    block: '22/tcp ip INPUT: rule -A INPUT -m comment --comment "! -s 1 -j ACCEPT" -p tcp -j DROP',
  },
  { why: "chains like ufw's", rules: UFW, block: "22/tcp ip INPUT: policy" },
  {
    why: "chains like ufw's that accept the port",
    rules: `${UFW}-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\n`,
    block: undefined,
  },
  {
    why: "chains like ufw's that drop what comes slowly, and then accept it at a rate",
    rules: `${UFW}-A ufw-user-input -p tcp -m limit --limit 3/min -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -m limit --limit 3/min --limit-burst 5 -j ACCEPT\n`,
    block: undefined,
  },
  {
    why: "a chain that is jumped to and drops",
    rules:
      "-P INPUT ACCEPT\n-N bad\n-A INPUT -p tcp -j bad\n-A bad -j REJECT --reject-with tcp-reset\n",
    block: "22/tcp ip bad: rule -A bad -j REJECT --reject-with tcp-reset",
  },
  {
    why: "a chain that is gone to, and whose end is the policy",
    rules: "-P INPUT DROP\n-N x\n-A INPUT -g x\n-A INPUT -j ACCEPT\n",
    block: "22/tcp ip INPUT: policy",
  },
  {
    why: "first packets, several ports, anything but a port",
    rules: `-P INPUT DROP
-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m multiport --dports 80,20:25 -j ACCEPT\n`,
    block: undefined,
  },
  {
    why: "anything but this port",
    rules: "-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp ! --dport 22 -j DROP\n",
    block: undefined,
  },
  {
    why: "another protocol",
    rules: "-P INPUT ACCEPT\n-A INPUT -p udp -j DROP\n",
    block: undefined,
  },
  {
    why: "bans of some addresses",
    rules:
      "-P INPUT ACCEPT\n-N f2b\n-A INPUT -j f2b\n-A f2b -s 192.0.2.1/32 -j DROP\n-A f2b -j RETURN\n",
    block: undefined,
  },
  {
    why: "a program in user space that decides",
    rules: "-P INPUT DROP\n-A INPUT -j NFQUEUE --queue-num 0\n",
    block: undefined,
  },
];

Deno.test("findBlock() names what drops, in the words of iptables", () => {
  for (const { why, rules, block } of IPTABLES) {
    assert.equal(show(findBlock(traffic("22/tcp"), parseFilterChains("ip", rules))), block, why);
  }
});

Deno.test("findBlock() takes a range apart", () => {
  const rules = "-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 8080:8084 -j ACCEPT\n";
  const block = (more: string) =>
    show(findBlock(traffic("8080-8090/tcp"), parseFilterChains("ip", rules + more)));
  assert.equal(block(""), "8085-8090/tcp ip INPUT: policy");
  assert.equal(block("-A INPUT -p tcp -m tcp --dport 8085:9000 -j ACCEPT\n"), undefined);
});

const NFT: readonly { why: string; rules: string; ports: string; block: string | undefined }[] = [
  { why: "firewalld", rules: FIREWALLD, ports: "22/tcp", block: "22/tcp ip filter_INPUT: rule" },
  {
    why: "firewalld, a port that it accepts",
    rules: FIREWALLD,
    ports: "443/tcp",
    block: undefined,
  },
  {
    why: "not the loopback",
    rules: `chain c { type filter hook input priority 0; iifname != "lo" tcp dport 22 drop; }`,
    ports: "22/tcp",
    block: "22/tcp ip c: rule",
  },
  {
    why: "not established",
    rules: `chain c { type filter hook input priority 0; ct state != established drop; }`,
    ports: "22/tcp",
    block: "22/tcp ip c: rule",
  },
  {
    why: "a verdict map of states",
    rules: `chain next { tcp dport vmap { 22 : accept, 23 : drop }; }
chain c { type filter hook input priority 0; policy drop
  ct state vmap { established : accept, new : jump next, invalid : drop }
}`,
    ports: "22-23/tcp",
    block: "23/tcp ip next: rule",
  },
  {
    why: "IPv6 forgotten",
    rules: `chain c { type filter hook input priority 0; policy drop
  meta nfproto ipv4 tcp dport 22 accept
  icmpv6 type echo-request accept
}`,
    ports: "22/tcp",
    block: "22/tcp ip6 c: policy",
  },
  {
    why: "IPv4 forgotten",
    rules: `chain c { type filter hook input priority 0; policy drop
  meta l4proto { tcp, udp } ip6 saddr ::/0 accept
  ip6 nexthdr tcp accept
}`,
    ports: "22/tcp",
    block: "22/tcp ip c: policy",
  },
  {
    why: "all protocols with ports, only so fast",
    rules: `chain c { type filter hook input priority 0; policy drop
  meta l4proto { tcp, udp } th dport 1-1023 limit rate 5/second accept
}`,
    ports: "22/tcp",
    block: undefined,
  },
  {
    why: "what is too fast",
    rules: `chain c { type filter hook input priority 0; policy accept
  tcp dport 22 limit rate over 5/second drop
  tcp dport != 23 ip saddr 192.0.2.1 drop
  tcp flags & (fin | syn | rst | ack) != syn ct state new drop
}`,
    ports: "22/tcp",
    block: undefined,
  },
  {
    why: "first packets, for this host",
    rules: `chain c { type filter hook input priority 0; policy drop
  tcp flags & (fin | syn | rst | ack) == syn fib daddr type local ct state new,untracked accept
}`,
    ports: "22/tcp",
    block: undefined,
  },
];

namespaceTest("findBlock() names what drops, in the words of the real nft", async (namespace) => {
  for (const { why, rules, ports, block } of NFT) {
    await namespace.nft(["-f", "-"], `flush ruleset\ntable inet t {\n${rules}\n}\n`);
    // Numbers are what nft prints where there is no /etc/protocols.
    for (const flags of [[], ["--numeric-protocol"]]) {
      const { entries } = await listRuleset(async ({ args }) => {
        // As if a program kept that table for itself, which no `nft -f` can.
        const text = await namespace.nft([...flags, ...args]);
        if (args[0] !== "--json") return text.replace("table inet t {", "$&\n\tflags owner");
        return text.replace(
          /("table": \{"family": "inet", "name": "t", "handle": \d+)/,
          '$1, "flags": "t"',
        );
      });
      assert.equal(show(findBlock(traffic(ports), parseHostChains(entries))), block, why);
    }
  }
});
