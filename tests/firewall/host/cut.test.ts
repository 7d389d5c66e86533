/** Which connections are cut, as far as text goes; that they really are is in tests/e2e/kill.test.ts. */

import assert from "node:assert/strict";
import { OpenmeError } from "../../../lib/values/errors.ts";
import { cutConnections } from "../../../lib/firewall/host/cut.ts";
import { parseFlows, portsByPlace } from "../../../lib/firewall/host/flows.ts";
import type { PortRange } from "../../../lib/values/ports.ts";
import type { RunProgram } from "../../../lib/system/run_program.ts";
import { network } from "../../support/knocks.ts";

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

Deno.test("the kernel's own list of entries is read as well as conntrack's", () => {
  const line = `ipv4     2 tcp      6 431999 ESTABLISHED ${TO} ${BACK}`;
  assert.equal(parseFlows(line, WANTED).length, 1);
});

/** A host: what its files hold and what its programs do; a program that is not named is not there. */
function host(
  { files = {}, programs = {}, ran = [] }: {
    files?: Record<string, string>;
    programs?: Record<string, (args: string) => string>;
    ran?: string[];
  },
): RunProgram {
  return ({ program, args }) => {
    const [all, path = ""] = [args.join(" "), args[0]];
    ran.push(`${program} ${all}`);
    const fails = (why: string) => Promise.reject(new OpenmeError("COMMAND", why));
    if (program === "cat") {
      const text = { "/proc/net/tcp": "", "/proc/net/tcp6": "", ...files }[path];
      return text !== undefined
        ? Promise.resolve(text)
        : fails(`cat failed with exit code 1: cat: ${path}: No such file or directory`);
    }
    const run = programs[program];
    if (!run) return fails(`cannot run ${program}: there is no such program`);
    try {
      return Promise.resolve(run(all));
    } catch (error) {
      return Promise.reject(error);
    }
  };
}

const SOCKETS4 = "  0: 0100000A:0016 0200000A:1092 01 00000000:00000000\n";
/** fd00::1 port 22, from fd00::2 port 4242. */
const SOCKETS6 =
  "  0: 000000FD000000000000000001000000:0016 000000FD000000000000000002000000:1092 01 00000000:00000000\n";
const PLACES = ["10.0.0.2", "fd00::2"].map((text) => ({ address: network(text), ports: [SSH] }));
const LEFT = ["10.0.0.2", "fd00::2"].map((address) => ({
  address,
  "source_port": 4242,
  ports: ["22/tcp"],
}));

Deno.test("cutConnections() asks ss for IPv6 in brackets, and goes on past a failure", async () => {
  const ran: string[] = [];
  const files = { "/proc/net/tcp": SOCKETS4, "/proc/net/tcp6": SOCKETS6 };
  const fail = (args: string) => {
    if (args.startsWith("-V")) return "";
    throw new OpenmeError("COMMAND", `ss failed: ${args}`);
  };
  const cut = await cutConnections(PLACES, host({ files, programs: { ss: fail }, ran }));
  assert.deepEqual(ran.filter((line) => line.startsWith("ss -K")), [
    "ss -K -H -t -n dst 10.0.0.2 sport = :22",
    "ss -K -H -t -n dst [fd00::2] sport = :22",
  ]);
  assert.equal(cut.failures.length, 2, "each is told");
  assert.deepEqual([cut.connections, cut.left], [0, LEFT]);
});

Deno.test("cutConnections() believes no exit code: a kernel that ends no sockets is seen through", async () => {
  const files = { "/proc/net/tcp": SOCKETS4, "/proc/net/tcp6": SOCKETS6 };
  const cut = await cutConnections(PLACES, host({ files, programs: { ss: () => "" } }));
  assert.deepEqual(cut, { connections: 0, left: LEFT, missing: ["conntrack"], failures: [] });
});

Deno.test("cutConnections() says that it could not look", async () => {
  const run = host({ programs: { ss: () => "", conntrack: () => "" } });
  const cut = await cutConnections(
    PLACES,
    (what) =>
      what.program === "cat"
        ? Promise.reject(new OpenmeError("COMMAND", "cat is broken"))
        : run(what),
  );
  assert.equal(cut.connections, 0);
  assert.match(cut.failures.join(), /cat is broken/);
});

Deno.test("without conntrack forwarded connections are left, or cannot be told, or are none", async () => {
  const flow = `ipv4     2 tcp      6 431999 ESTABLISHED ${TO} ${BACK}`;
  const rows: [files: Record<string, string>, left: number, failures: number, why: string][] = [
    [{ "/proc/net/nf_conntrack": flow }, 1, 0, "the kernel lists it"],
    [{ "/proc/net/nf_conntrack": "" }, 0, 0, "the kernel lists none"],
    [{ "/proc/sys/net/ipv4/ip_forward": "1\n" }, 0, 1, "a host that forwards"],
    [{ "/proc/sys/net/ipv6/conf/all/forwarding": "1\n" }, 0, 1, "in IPv6"],
    [{ "/proc/sys/net/ipv4/ip_forward": "0\n" }, 0, 0, "a host that does not"],
  ];
  for (const [files, left, failures, why] of rows) {
    const cut = await cutConnections(PLACES, host({ files, programs: { ss: () => "" } }));
    assert.deepEqual([cut.left.length, cut.failures.length], [left, failures], why);
    assert.deepEqual(cut.missing, ["conntrack"]);
  }
});

Deno.test("cutConnections() asks conntrack about these addresses only, and about all where there is a network", async () => {
  const looks = async (places: typeof PLACES) => {
    const ran: string[] = [];
    await cutConnections(places, host({ programs: { conntrack: () => "" }, ran }));
    return ran.filter((line) => line.startsWith("conntrack -L"));
  };
  assert.deepEqual(await looks(PLACES), [
    "conntrack -L -f ipv4 -s 10.0.0.2",
    "conntrack -L -f ipv4 -d 10.0.0.2",
    "conntrack -L -f ipv6 -s fd00::2",
    "conntrack -L -f ipv6 -d fd00::2",
  ]);
  assert.deepEqual(await looks([{ address: network("10.0.0.0/24"), ports: [SSH] }]), [
    "conntrack -L -f ipv4",
    "conntrack -L -f ipv6",
  ]);
});
