/** Which connections are cut, as far as text goes; that they really are is in tests/e2e/running.test.ts. */

import assert from "node:assert/strict";
import { OpenmeError } from "../../lib/errors.ts";
import {
  cutConnections,
  parseFlows,
  portsByPlace,
  requireCutters,
} from "../../lib/firewall/cut.ts";
import type { PortRange } from "../../lib/ports.ts";
import type { RunProgram } from "../../lib/run_program.ts";
import { network } from "../support.ts";

const SSH: PortRange = { protocol: "tcp", first: 22, last: 22 };
const WEB: PortRange = { protocol: "udp", first: 8080, last: 8090 };
const WANTED = portsByPlace([
  { address: network("10.0.0.2"), ports: [SSH, WEB] },
  { address: network("fd00::2"), ports: [SSH] },
]);

const TO = "src=10.0.0.2 dst=10.0.0.1 sport=4242 dport=22";
const BACK = "src=10.0.0.1 dst=10.0.0.2 sport=22 dport=4242 [ASSURED] mark=0 use=1";

Deno.test("parseFlows() takes what comes from a wanted address to its ports, and nothing else", () => {
  const rows: [line: string, wanted: boolean, why: string][] = [
    [`tcp      6 431999 ESTABLISHED ${TO} ${BACK}`, true, "established"],
    [
      `tcp      6 431999 ESTABLISHED ${TO} src=172.17.0.2 dst=10.0.0.2 sport=22 dport=4242`,
      true,
      "forwarded",
    ],
    [`tcp      6 119 TIME_WAIT ${TO} ${BACK}`, false, "over"],
    [`tcp      6 9 CLOSE ${TO} ${BACK}`, false, "cut already"],
    [
      `tcp      6 299 ESTABLISHED ${BACK.replace(" [ASSURED] mark=0 use=1", "")} ${TO} use=1`,
      true,
      "picked up from the server's side",
    ],
    [
      `tcp      6 431999 ESTABLISHED ${TO.replace("10.0.0.2", "10.0.0.3")} ${BACK}`,
      false,
      "another address",
    ],
    [`tcp      6 431999 ESTABLISHED ${TO.replace("=22", "=23")} ${BACK}`, false, "another port"],
    [`udp      17 29 ${TO} ${BACK}`, false, "another protocol"],
    [
      "udp      17 29 src=10.0.0.2 dst=10.0.0.1 sport=5 dport=8085 src=10.0.0.1 dst=10.0.0.2 sport=8085 dport=5 use=1",
      true,
      "in a range",
    ],
    [
      "tcp      6 9 ESTABLISHED src=fd00::2 dst=fd00::1 sport=5 dport=22 src=fd00::1 dst=fd00::2 sport=22 dport=5 use=1",
      true,
      "IPv6",
    ],
    ["icmp     1 29 src=10.0.0.2 dst=10.0.0.1 type=8 code=0 id=1 src=10.0.0.1", false, "no ports"],
    ["conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.", false, "no flow"],
    ["", false, "nothing"],
  ];
  for (const [line, wanted, why] of rows) {
    assert.equal(parseFlows(line, WANTED).length, wanted ? 1 : 0, why);
  }
});

Deno.test("parseFlows() takes what comes from a wanted network, wherever it lies in it", () => {
  const wanted = portsByPlace([
    { address: network("10.0.0.0/24"), ports: [SSH] },
    { address: network("10.0.0.3"), ports: [WEB] },
    { address: network("fd00::/64"), ports: [SSH] },
  ]);
  const flow = (from: string, to: string, port = 22) =>
    `tcp      6 9 ESTABLISHED src=${from} dst=${to} sport=5 dport=${port} src=${to} dst=${from} sport=${port} dport=5 use=1`;
  const rows: [line: string, wanted: boolean][] = [
    [flow("10.0.0.3", "10.1.0.1"), true],
    [flow("10.0.0.255", "10.1.0.1"), true],
    [flow("10.0.1.3", "10.1.0.1"), false],
    [flow("10.0.0.3", "10.1.0.1", 23), false],
    [flow("fd00::7", "fd01::1"), true],
    [flow("fd00:0:0:1::7", "fd01::1"), false],
  ];
  for (const [line, expected] of rows) {
    assert.equal(parseFlows(line, wanted).length, expected ? 1 : 0, line);
  }
});

Deno.test("cutConnections() looks at all entries where a network is among what is wanted", async () => {
  const ran: string[] = [];
  await cutConnections(
    [{ address: network("10.0.0.0/24"), ports: [SSH] }],
    hostWith(["cat", "conntrack"], ran),
  );
  assert.deepEqual(ran.filter((line) => line.startsWith("conntrack -L")), [
    "conntrack -L -f ipv4",
    "conntrack -L -f ipv6",
  ]);
});

/** A host that has only some of the programs; they succeed and print nothing. */
function hostWith(programs: readonly string[], ran: string[] = []): RunProgram {
  return ({ program, args }) => {
    if (!programs.includes(program)) {
      return Promise.reject(
        new OpenmeError("COMMAND", `cannot run ${program}: there is no such program`),
      );
    }
    ran.push([program, ...args].join(" "));
    return Promise.resolve("");
  };
}

Deno.test("cutting needs ss or conntrack, and says what to install", async () => {
  await assert.rejects(requireCutters(hostWith(["cat"])), {
    code: "COMMAND",
    message: "cannot cut connections: there is no program ss or conntrack",
    hint: "install them on the server: apt-get install iproute2 conntrack",
  });
  assert.deepEqual(await requireCutters(hostWith(["ss"])), { ss: true, conntrack: false });
});

Deno.test("cutConnections() says which program was missing, and asks about these addresses only", async () => {
  const places = ["10.0.0.2", "fd00::2"].map((text) => ({
    address: network(text),
    ports: [SSH],
  }));
  const nothing = { connections: 0, left: 0 };
  assert.deepEqual(await cutConnections(places, hostWith(["cat", "ss"])), {
    ...nothing,
    missing: ["conntrack"],
  });
  const ran: string[] = [];
  const cut = await cutConnections(places, hostWith(["cat", "conntrack"], ran));
  assert.deepEqual(cut, { ...nothing, missing: ["ss"] });
  assert.deepEqual(ran.filter((line) => line.startsWith("conntrack -L")), [
    "conntrack -L -f ipv4 -s 10.0.0.2",
    "conntrack -L -f ipv4 -d 10.0.0.2",
    "conntrack -L -f ipv6 -s fd00::2",
    "conntrack -L -f ipv6 -d fd00::2",
  ]);
});
