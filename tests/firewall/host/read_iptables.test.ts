/** What openme reads of a host's own iptables rules: what they drop, what they leave open, and where its holes are. */

import assert from "node:assert/strict";
import { DEFAULT_MARK } from "../../../lib/config/firewall.ts";
import { type HostChain, mayDrop } from "../../../lib/firewall/host/chain.ts";
import { holeChanges, NO_HOLES, renderIptablesHoles } from "../../../lib/firewall/host/hole.ts";
import { portsOpenToEveryone } from "../../../lib/firewall/host/reachability.ts";
import { publishedInNat } from "../../../lib/firewall/host/read_iptables.ts";
import { findBlock } from "../../../lib/firewall/host/trace.ts";
import { formatPortRange } from "../../../lib/values/ports.ts";
import { parseFilterChains, parseTable, ranges } from "../support.ts";

const HOLE =
  '-m mark --mark 0x40000000/0x40000000 -m comment --comment "openme: what was knocked for" -j ACCEPT';

Deno.test("a hole stands above all that may drop in its chain, and goes without a trace", () => {
  const holes = (each: readonly HostChain[]) =>
    renderIptablesHoles(holeChanges(each, { mark: DEFAULT_MARK, isWanted: () => true }));
  const chains = parseFilterChains(
    "ip",
    `-P INPUT DROP
-P FORWARD ACCEPT
-P OUTPUT ACCEPT
-N ufw-before-input
-A INPUT -j ufw-before-input
-A INPUT ${HOLE}
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
`,
  );
  assert.deepEqual(chains.map((chain) => [chain.name, mayDrop(chain)]), [
    ["INPUT", true],
    ["FORWARD", false],
  ]);
  assert.equal(holes(chains), `*filter\n-D INPUT ${HOLE}\n-I INPUT 1 ${HOLE}\nCOMMIT\n`);
  const removal = renderIptablesHoles(holeChanges(chains, NO_HOLES));
  assert.equal(removal, `*filter\n-D INPUT ${HOLE}\nCOMMIT\n`);
  const right = parseFilterChains("ip", `-P INPUT DROP\n-A INPUT ${HOLE}\n-A INPUT -j x\n`);
  assert.equal(holes(right), "");
  assert.equal(
    holes([...chains, ...parseTable("ip", "mangle", "-P INPUT DROP\n")]),
    `*mangle\n-I INPUT 1 ${HOLE}\nCOMMIT\n*filter\n-D INPUT ${HOLE}\n-I INPUT 1 ${HOLE}\nCOMMIT\n`,
  );
});

Deno.test("a chain may drop where one that it jumps to does, and not where that only marks or logs", () => {
  const may = (rules: string) =>
    parseTable(
      "ip",
      "mangle",
      `-P FORWARD ACCEPT\n-N a\n-N b\n-A b -s 192.0.2.1 -j ACCEPT\n${rules}`,
    )
      .map(mayDrop);
  for (
    const harmless of [
      "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
      "-A FORWARD -j a\n-A a -j b\n-A a -j MARK --set-xmark 0x1/0xffffffff",
      "-A FORWARD -g b",
      "-A FORWARD -i eth0",
    ]
  ) assert.deepEqual(may(harmless), [false], harmless);
  for (
    const harmful of [
      "-A FORWARD -s 192.0.2.1 -j DROP",
      "-A FORWARD -j a\n-A a -g b\n-A b -j DROP",
      "-A FORWARD -j NFQUEUE --queue-num 1",
    ]
  ) assert.deepEqual(may(harmful), [true], harmful);
});

Deno.test("what iptables rules let strangers reach is told as for nft", () => {
  const open = (rules: string) =>
    portsOpenToEveryone(
      ranges("22/tcp", "80/tcp"),
      ["ip" as const, "ip6" as const].flatMap((family) => parseFilterChains(family, rules)),
    )?.ports.map(formatPortRange) ?? [];
  assert.deepEqual(open("-P INPUT ACCEPT\n"), ["22/tcp", "80/tcp"]);
  assert.deepEqual(open("-P INPUT DROP\n"), []);
  assert.deepEqual(
    open("-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j DROP\n"),
    ["22/tcp"],
  );
  assert.deepEqual(
    open("-P INPUT DROP\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT\n"),
    [],
  );
  assert.deepEqual(
    open("-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\n"),
    ["80/tcp"],
  );
  const ufw = `-P INPUT DROP\n-N before\n-N user\n-N limit-accept\n-A INPUT -j before
-A before -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A before -j user\n`;
  assert.deepEqual(open(ufw), []);
  assert.deepEqual(open(`${ufw}-A user -p tcp -m tcp --dport 22 -j ACCEPT\n`), ["22/tcp"]);
  assert.deepEqual(
    open(`${ufw}-A user -p tcp -m tcp --dport 22 -j limit-accept\n-A limit-accept -j ACCEPT\n`),
    ["22/tcp"],
  );
  assert.deepEqual(
    open(`${ufw}-A user -s 10.0.0.0/8 -j limit-accept\n-A limit-accept -j ACCEPT\n`),
    [],
  );
});

Deno.test("findBlock() names only what surely drops in iptables chains", () => {
  const block = (rules: string) =>
    findBlock(
      { ports: ranges("22/tcp"), state: "new", sentOn: false },
      parseFilterChains("ip", rules),
    );
  assert.equal(
    block("-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\n")?.rule?.text,
    "-A INPUT -p tcp -m tcp --dport 22 -j DROP",
  );
  assert.equal(block("-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n")?.rule, undefined);
  for (
    const harmful of [
      "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n",
      "-P INPUT DROP\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
      "-P INPUT ACCEPT\n-A INPUT -p tcp -m multiport --dports 80,20:30 -j DROP\n",
      "-P INPUT DROP\n-N a\n-A INPUT -g a\n",
      "-P INPUT DROP\n-N a\n-A a -s 192.0.2.1 -j ACCEPT\n-A INPUT -j a\n",
      "-P INPUT DROP\n-A INPUT -j MARK --set-xmark 0x1/0xffffffff\n",
    ]
  ) assert.ok(block(harmful), harmful);
  for (
    const harmless of [
      "-P INPUT ACCEPT\n",
      "-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 23 -j DROP\n",
      "-P INPUT ACCEPT\n-A INPUT -p udp -j DROP\n",
      "-P INPUT ACCEPT\n-A INPUT -s 192.0.2.0/24 -j DROP\n",
      "-P INPUT DROP\n-A INPUT -j somewhere\n",
      "-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp ! --dport 23 -m mark --mark 0x1 -j DROP\n",
      "-P INPUT ACCEPT\n-A INPUT ! -p tcp -j DROP\n",
      "-P INPUT ACCEPT\n-A INPUT -p tcp -m multiport --dports 80,8000:8100 -j DROP\n",
      "-P INPUT DROP\n-N a\n-A a -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j a\n",
    ]
  ) assert.equal(block(harmless), undefined, harmless);
});

Deno.test("published ports are read from nat rules", () => {
  const docker = `-P PREROUTING ACCEPT
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER ! -i docker0 -p udp -m udp --dport 5000:5010 -j DNAT --to-destination 172.17.0.3
`;
  assert.deepEqual(publishedInNat(docker)?.map(formatPortRange), ["8080/tcp", "5000-5010/udp"]);
  assert.deepEqual(publishedInNat("-P PREROUTING ACCEPT\n"), []);
  assert.equal(
    publishedInNat("-A PREROUTING -d 192.0.2.1 -j DNAT --to-destination 10.0.0.1\n"),
    undefined,
  );
});
