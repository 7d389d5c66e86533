/** access.conf and knockd.conf as they are found on servers -> clients, and what is left out. */

import assert from "node:assert/strict";
import { NAME_PATTERN } from "../lib/config/reader.ts";
import { nameFor } from "../lib/import/foreign.ts";
import { readFwknop } from "../lib/import/fwknop.ts";
import { readKnockd } from "../lib/import/knockd.ts";
import { parsePortSpec } from "../lib/ports.ts";
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
