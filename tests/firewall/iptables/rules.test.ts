/** The rule text of the iptables backend, to the letter, and what it reads back. */

import assert from "node:assert/strict";
import { parseOwnChains } from "../../../lib/firewall/iptables/own_chains.ts";
import {
  renderChains,
  renderDateStop,
  renderGrants,
} from "../../../lib/firewall/iptables/rules.ts";
import { address, network } from "../../support/knocks.ts";
import { planOf, ranges } from "../support.ts";

const END_MS = Date.UTC(2027, 0, 2, 3, 4, 5, 678);

Deno.test("renderChains() is one restore that replaces what is there", () => {
  const text = renderChains(4, planOf({ guardedPorts: ranges("22/tcp"), interface: "eth0" }), {
    openings: [
      { address: network("192.0.2.7"), ports: ranges("22/tcp")[0]!, endsAtMs: END_MS },
      { address: network("2001:db8::7"), ports: ranges("22/tcp")[0]!, endsAtMs: END_MS },
    ],
    kept: [{
      local: address("198.51.100.1"),
      localPort: 22,
      remote: address("192.0.2.9"),
      remotePort: 50022,
    }],
    stamps: [{ word: 0x0102a3ff, timeoutMs: 1000 }, { word: 7, timeoutMs: 1 }],
    hole: true,
    owner: { pid: 35, startTicks: "36" },
    present: parseOwnChains(
      "-P PREROUTING ACCEPT\n-N OPENME\n-N OPENME_O_1_2\n-A PREROUTING -j OPENME\n",
    ),
    madeTable: false,
  });
  assert.equal(
    text,
    `*mangle
:OPENME - [0:0]
:OPENME_LOCAL - [0:0]
:OPENME_KNOCK - [0:0]
:OPENME_STAMPS - [0:0]
:OPENME_UNSTAMPED - [0:0]
:OPENME_GUARD - [0:0]
:OPENME_GRANTS - [0:0]
:OPENME_ALLOW - [0:0]
:OPENME_O_z_10 - [0:0]
-A OPENME -j MARK --set-xmark 0x0/0x40000000
-A OPENME ! -i eth0 -j RETURN
-A OPENME -i lo -j RETURN
-A OPENME -m addrtype --dst-type LOCAL -g OPENME_LOCAL
-A OPENME -m addrtype --dst-type BROADCAST -g OPENME_LOCAL
-A OPENME -m addrtype --dst-type MULTICAST -g OPENME_LOCAL
-A OPENME -m addrtype --dst-type ANYCAST -g OPENME_LOCAL
-A OPENME -m addrtype --dst-type LOCAL --limit-iface-in -g OPENME_LOCAL
-A OPENME -m addrtype --dst-type BROADCAST --limit-iface-in -g OPENME_LOCAL
-A OPENME -m addrtype --dst-type MULTICAST --limit-iface-in -g OPENME_LOCAL
-A OPENME -m addrtype --dst-type ANYCAST --limit-iface-in -g OPENME_LOCAL
-A OPENME_LOCAL -p udp -m udp --dport 54154 -g OPENME_KNOCK
-A OPENME_LOCAL -p tcp -m tcp --dport 22 -g OPENME_GUARD
-A OPENME_KNOCK -m length ! --length 193:233 -j DROP
-A OPENME_KNOCK -m hashlimit --hashlimit-above 2000/second --hashlimit-burst 1000 --hashlimit-mode srcip --hashlimit-htable-max 1000000 --hashlimit-htable-expire 1000 --hashlimit-htable-gcinterval 500 --hashlimit-srcmask 32 --hashlimit-name openme4 -j DROP
-A OPENME_KNOCK -j OPENME_STAMPS
-A OPENME_KNOCK -g OPENME_ALLOW
-A OPENME_STAMPS -m bpf --bytecode "6,177 0 0 0,64 0 0 41,21 2 0 16950271,21 1 0 7,6 0 0 0,6 0 0 65535" -j RETURN
-A OPENME_STAMPS -g OPENME_UNSTAMPED
-A OPENME_UNSTAMPED -m hashlimit --hashlimit-above 5000/second --hashlimit-burst 500 --hashlimit-htable-size 1 --hashlimit-name openme4_rest -j DROP
-A OPENME_GUARD -m conntrack --ctstate ESTABLISHED -g OPENME_ALLOW
-A OPENME_GUARD -s 192.0.2.9 -d 198.51.100.1 -p tcp -m tcp --sport 50022 --dport 22 ! --tcp-flags FIN,SYN,RST,ACK SYN -g OPENME_ALLOW
-A OPENME_GUARD -g OPENME_GRANTS
-A OPENME_GRANTS -s 192.0.2.7 -p tcp -m tcp --dport 22 -m time --datestop 2027-01-02T03:04:04 -g OPENME_ALLOW
-A OPENME_GRANTS -j DROP
-A OPENME_ALLOW -j MARK --set-xmark 0x40000000/0x40000000
-F OPENME_O_1_2
-X OPENME_O_1_2
COMMIT
`,
  );
});

Deno.test("a jump that is no longer first is put back there", () => {
  const listing =
    "-P PREROUTING ACCEPT\n-N OPENME\n-A PREROUTING -p tcp -j ACCEPT\n-A PREROUTING -j OPENME\n";
  const present = parseOwnChains(listing);
  assert.equal(present.isFirst, false);
  const text = renderChains(4, planOf(), {
    openings: [],
    kept: [],
    stamps: undefined,
    hole: false,
    owner: undefined,
    present,
    madeTable: false,
  });
  assert.match(text, /\n-D PREROUTING -j OPENME\n-I PREROUTING 1 -j OPENME\n/);
});

Deno.test("a network is granted by its prefix, and read back", () => {
  const rule = (family: 4 | 6, at: string) =>
    renderGrants(family, planOf(), [
      { address: network(at), ports: ranges("22/tcp")[0]!, endsAtMs: END_MS },
    ]).split("\n").find((line) => line.startsWith("-A OPENME_GRANTS -s"));
  const end = "-p tcp -m tcp --dport 22 -m time --datestop 2027-01-02T03:04:04 -g OPENME_ALLOW";
  assert.equal(rule(4, "192.0.2.0/24"), `-A OPENME_GRANTS -s 192.0.2.0/24 ${end}`);
  assert.equal(rule(6, "2001:db8::/64"), `-A OPENME_GRANTS -s 2001:db8::/64 ${end}`);
  assert.equal(rule(6, "192.0.2.0/24"), undefined);
  const listed = ["192.0.2.0/24", "192.0.2.7/32", "2001:db8::/64", "2001:db8::7/128"].map((at) =>
    `-A OPENME_GRANTS -s ${at} ${end}`
  );
  assert.deepEqual(
    parseOwnChains(listed.join("\n")).grants.map((each) => each.address),
    ["192.0.2.0/24", "192.0.2.7", "2001:db8::/64", "2001:db8::7"],
  );
});

Deno.test("renderDateStop() never lets an opening last too long", () => {
  // The second that is named still counts.
  assert.equal(renderDateStop(Date.UTC(2027, 0, 1, 0, 0, 5, 0)), "2027-01-01T00:00:04");
  assert.equal(renderDateStop(Date.UTC(2027, 0, 1, 0, 0, 5, 999)), "2027-01-01T00:00:04");
  assert.equal(renderDateStop(Date.UTC(2040, 0, 1)), "2038-01-18T23:59:59");
});
