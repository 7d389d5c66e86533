/** access.conf and knockd.conf as they are found on servers -> clients, and what is left out. */

import assert from "node:assert/strict";
import { NAME_PATTERN } from "../../../lib/values/name.ts";
import { nameFor } from "../../../lib/cli/import/foreign.ts";
import { readFwknop } from "../../../lib/cli/import/fwknop.ts";
import { readKnockd } from "../../../lib/cli/import/knockd.ts";
import { parsePortSpec } from "../../../lib/values/ports.ts";
import fc from "fast-check";

const ACCESS_CONF = `# /etc/fwknop/access.conf
SOURCE                     ANY
REQUIRE_SOURCE_ADDRESS     Y
REQUIRE_USERNAME           alice
OPEN_PORTS                 tcp/22, udp/53,icmp/8
KEY_BASE64                 wzNP62oPPgEc+kXDPQLHPOayQBuNbYUTPP+QrErNDmg=
HMAC_KEY_BASE64            Yh+xizBnl6FotC5ec7FanVGClRMlsOAPh2u6eovnerfBVKwaVKzjGoblFMHMc593TNyi0dWn4opLoTIV9q/ttg==
FW_ACCESS_TIMEOUT          30
ACCESS_EXPIRE              12/31/2027

SOURCE: 192.168.10.0/24;
OPEN_PORTS: tcp/443;
SOURCE                     ANY
KEY                        secret
%include                   /etc/fwknop/more.conf
nonsense
`;

Deno.test("readFwknop() makes a client of each stanza with ports, and lists the rest", () => {
  const { clients, leftOut } = readFwknop(ACCESS_CONF);
  assert.deepEqual(clients, [
    { name: "alice", specs: ["22/tcp", "53/udp"], expiresAtMs: Date.UTC(2027, 11, 31) },
    { name: "fwknop-2", specs: ["443/tcp"], expiresAtMs: undefined },
  ]);
  assert.deepEqual(leftOut.map(({ line, what }) => [line, what]), [
    [15, "%include"],
    [16, "a line"],
    [4, "REQUIRE_USERNAME"],
    [6, "KEY_BASE64"],
    [7, "HMAC_KEY_BASE64"],
    [8, "FW_ACCESS_TIMEOUT"],
    [5, "OPEN_PORTS icmp/8"],
    [11, "SOURCE"],
    [14, "KEY"],
    [13, "the whole stanza"],
  ]);
  assert.ok(!JSON.stringify(leftOut).includes("secret"));
});

Deno.test("readFwknop() leaves out a stanza whose end it cannot read, rather than let it live for ever", () => {
  const stanza = (line: string) => readFwknop(`SOURCE ANY\nOPEN_PORTS tcp/22\n${line}\n`);
  const bad = ["31/12/2027", "2027-12-31", "02/30/2027", "0/1/2027", "soon", ""].map((value) =>
    `ACCESS_EXPIRE ${value};`
  );
  for (
    const line of [
      ...bad,
      "ACCESS_EXPIRE_EPOCH 12/31/2027",
      "ACCESS_EXPIRE_EPOCH -1",
      "ACCESS_EXPIRE",
    ]
  ) {
    const { clients, leftOut } = stanza(line);
    assert.deepEqual(clients, [], line);
    assert.deepEqual(
      leftOut.map(({ line, what }) => [line, what]),
      [[1, "the whole stanza"]],
      line,
    );
  }
  for (
    const [line, atMs] of [
      ["ACCESS_EXPIRE 2/29/2028", Date.UTC(2028, 1, 29)],
      ["ACCESS_EXPIRE_EPOCH 1830211200", 1_830_211_200_000],
    ] as const
  ) assert.deepEqual(stanza(line).clients.map(({ expiresAtMs }) => expiresAtMs), [atMs], line);
});

const KNOCKD_CONF = `[options]
\tUseSyslog
\tInterface = eth0

[openSSH]
\tsequence    = 7000,8000,9000
\tseq_timeout = 5
\tcommand     = /sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
\ttcpflags    = syn
[closeSSH]
\tsequence    = 9000,8000,7000
\tcommand     = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
[open close web]
\tsequence      = 2222:udp,3333:tcp
\tstart_command = /sbin/iptables -I INPUT -s %IP% -p tcp -m multiport --dports 80,443,8000:8100 -j ACCEPT
\tcmd_timeout   = 10
\tstop_command  = /sbin/iptables -D INPUT -s %IP% -p tcp -m multiport --dports 80,443 -j ACCEPT
[nft]
\tcommand = nft add rule inet filter input ip saddr %IP% tcp dport { 25, 587 } udp dport 53 accept
[ufw]
\tcommand = ufw allow from %IP% to any port 3306 proto tcp
[odd]
\tcommand = /usr/local/bin/open-sesame %IP%
`;

Deno.test("readKnockd() reads the ports out of the usual commands, and lists the rest", () => {
  const { clients, leftOut } = readKnockd(KNOCKD_CONF);
  assert.deepEqual(clients.map(({ name, specs }) => [name, specs]), [
    ["openSSH", ["22/tcp"]],
    ["open-close-web", ["80/tcp", "443/tcp", "8000-8100/tcp"]],
    ["nft", ["25/tcp", "587/tcp", "53/udp"]],
    ["ufw", ["3306/tcp"]],
  ]);
  assert.deepEqual(leftOut.map(({ line, what }) => [line, what]), [
    [2, "UseSyslog"],
    [3, "Interface"],
    [6, "sequence"],
    [7, "seq_timeout"],
    [9, "tcpflags"],
    [10, "[closeSSH]"],
    [14, "sequence"],
    [16, "cmd_timeout"],
    [17, "stop_command"],
    [22, "[odd]"],
  ]);
});

/** One door whose command this is. */
const door = (command: string) => readKnockd(`[door]\nsequence = 1,2\ncommand = ${command}\n`);

Deno.test("readKnockd() opens nothing for a command that closes, excludes or forwards", () => {
  const refused = [
    "/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j DROP",
    "iptables -I INPUT -s %IP% -p tcp --dport 22 -j REJECT --reject-with tcp-reset",
    "iptables -A INPUT -s %IP% -p tcp ! --dport 22 -j ACCEPT",
    "iptables -A INPUT -s %IP% -p tcp --dport ! 22 -j ACCEPT",
    "iptables -A INPUT ! -s %IP% -p tcp --dport 22 -j ACCEPT",
    "iptables -A INPUT -s %IP% -p tcp --dport 22 -j LOG",
    "iptables -A INPUT -s %IP% -p tcp --dport 22",
    "iptables -A OUTPUT -d %IP% -p tcp --dport 22 -j ACCEPT",
    "iptables -A FORWARD -s %IP% -p tcp --dport 22 -j ACCEPT",
    "iptables -t nat -A PREROUTING -s %IP% -p tcp --dport 22 -j ACCEPT",
    "iptables -A INPUT -s %IP% -p tcp --dport 80 -j ACCEPT; iptables -A INPUT -p tcp --dport 22 -j DROP",
    "ufw deny from %IP% to any port 22 proto tcp",
    "ufw insert 1 reject from %IP% to any port 22",
    "ufw allow out to %IP% port 22 proto tcp",
    "ufw route allow from %IP% to any port 22",
    "nft add rule inet filter input ip saddr %IP% tcp dport 22 drop",
    "nft add rule inet filter input ip saddr %IP% tcp dport != 22 accept",
    "nft add rule inet filter output ip daddr %IP% tcp dport 22 accept",
    `firewall-cmd --add-rich-rule='rule family="ipv4" source address="%IP%" port port="22" protocol="tcp" drop'`,
    `firewall-cmd --add-rich-rule='rule family="ipv4" source NOT address="%IP%" port port="22" protocol="tcp" accept'`,
    "firewall-cmd --add-forward-port=port=22:proto=tcp:toport=2222",
  ];
  for (const command of refused) {
    assert.deepEqual(door(command), {
      clients: [],
      leftOut: [{
        line: 1,
        what: "[door]",
        why: "openme only opens ports of its own host, and this command does something else",
      }],
    }, command);
  }
  assert.deepEqual(door("ufw allow from %IP% port 22 to any").clients, [], "the sender's port");
});

Deno.test("readKnockd() reads every usual way of letting packets in", () => {
  const opened: [command: string, specs: string[]][] = [
    ["ip6tables -w --insert INPUT 1 -s %IP% -p udp --dport=53 --jump ACCEPT", ["53/udp"]],
    [
      "iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT && logger 'opened a port for %IP%'",
      ["22/tcp"],
    ],
    ["ufw insert 1 allow from %IP% to any port 80,443 proto tcp", ["80/tcp", "443/tcp"]],
    ["ufw allow proto udp from %IP% to any port 53", ["53/udp"]],
    ["nft insert rule inet filter input ip saddr %IP% tcp dport 22 counter accept", ["22/tcp"]],
    ["firewall-cmd --add-port=8000-8100/tcp --timeout=30", ["8000-8100/tcp"]],
    [
      `firewall-cmd --add-rich-rule='rule family="ipv4" source address="%IP%" port port="22" protocol="tcp" accept'`,
      ["22/tcp"],
    ],
  ];
  for (const [command, specs] of opened) {
    assert.deepEqual(door(command).clients.map((each) => each.specs), [specs], command);
  }
});

Deno.test("readFwknop() and readKnockd() give good names and ports, whatever the file", () => {
  const pieces = (ACCESS_CONF + KNOCKD_CONF).split(/(\s+|[,;=/[\]])/);
  const file = fc.array(fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 5 })), {
    maxLength: 60,
  });
  fc.assert(fc.property(file.map((parts) => parts.join("")), (text) => {
    for (const { clients } of [readFwknop(text), readKnockd(text)]) {
      const names = clients.map(({ name }) => name);
      assert.equal(new Set(names).size, names.length);
      for (const { name, specs } of clients) {
        assert.match(name, NAME_PATTERN);
        assert.ok(specs.length > 0 && specs.every((spec) => parsePortSpec(spec)));
      }
    }
  }));
});

Deno.test("nameFor() keeps what is fit for a name and never gives one twice", () => {
  assert.equal(nameFor("alice smith", "x", new Set()), "alice-smith");
  assert.equal(nameFor("alice", "x", new Set(["alice", "alice-2"])), "alice-3");
  assert.equal(nameFor("123", "fwknop", new Set()), "fwknop-1");
});
