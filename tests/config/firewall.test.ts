/** The keys of the firewall: what they mean, and the error of each wrong value. */

import assert from "node:assert/strict";
import { odditiesOf } from "../../lib/cli/commands/check.ts";
import { parseSocket, parseSshConnection } from "../../lib/cli/serve/start_checks.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import { fillIn } from "../../lib/firewall/command/line.ts";
import { parseListening } from "../../lib/firewall/host/sockets.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { ALICE_PUBLIC } from "./support.ts";
import { network } from "../support/knocks.ts";

const KEY = "cHV0IDMyIGJ5dGVzIG9mIGtleSBpbiBoZXJlIG5vdyE=";

function config(server: readonly string[], rest = "") {
  const lines = server.map((line) => `  ${line}\n`).join("");
  return parseServerConfig(`server:\n  private_key: "${KEY}"\n${lines}${rest}`, "x");
}

Deno.test("the configuration takes the two programs of firewall: command", () => {
  const { firewall, command } = config([
    "firewall: command",
    "command:",
    `  open: [ufw, allow, from, "{address}", port, "{port}:{end_port}"]`,
    `  close: [sh, 7, "{client}"]`,
  ]);
  assert.equal(firewall, "command");
  assert.deepEqual(command, {
    open: ["ufw", "allow", "from", "{address}", "port", "{port}:{end_port}"],
    close: ["sh", "7", "{client}"],
  });
  assert.equal(config(["command: {open: [a], close: [b]}"]).command, undefined);
});

Deno.test("the configuration takes a list of firewall: command, and how a line of it looks", () => {
  const entry = "{address} {ports}/{protocol} # openme-web1";
  const { command } = config([
    "firewall: command",
    `command: {open: [a], close: [b], list: [sh, list], entry: "${entry}"}`,
  ]);
  assert.deepEqual(command?.list, { line: ["sh", "list"], entry });
});

Deno.test("the mark is one bit, in hex or as a whole number", () => {
  const rows = [
    ["0x40000000", 0x4000_0000],
    ['"0x40000000"', 0x4000_0000],
    ["0x80000000", 0x8000_0000],
    ["1", 1],
    ["2147483648", 0x8000_0000],
  ] as const;
  for (const [text, mark] of rows) assert.equal(config([`mark: ${text}`]).mark, mark, text);
});

Deno.test("a group says whether forwarded traffic is guarded", () => {
  const { groups, forwardedPorts, guardedPorts } = config(
    [],
    `ports:
  ssh: {ports: [22/tcp, 2200-2210/tcp], guard: {forward: true}}
  web: {ports: [80/tcp]}
  dns: [53/udp]
`,
  );
  assert.deepEqual([...groups.keys()], ["ssh", "web", "dns"]);
  assert.deepEqual(forwardedPorts.map(formatPortRange), ["22/tcp", "2200-2210/tcp"]);
  assert.ok(guardedPorts.map(formatPortRange).includes("80/tcp"));
});

const WRONG: readonly { server?: string[]; rest?: string; error: string }[] = [
  {
    server: ["firewall: command"],
    error: "server.command: expected a map with open and close, got nothing",
  },
  {
    server: ["firewall: command", "command: {open: [a]}"],
    error: "server.command.close: expected a list of a program and its arguments",
  },
  {
    server: ["firewall: command", `command: {open: [a, "{adress}"], close: [b]}`],
    error: "server.command.open[1]: expected {address} or {family} or",
  },
  {
    server: ["firewall: command", `command: {open: ["{client}"], close: [b]}`],
    error: 'server.command.open[0]: expected the name of a program, got "{client}"',
  },
  ...[
    ["list: [c]", "server.command.entry: expected a line as list prints it for one opening, got"],
    ["entry: x", "server.command.entry: expected {address}, {protocol} and {ports}"],
    [
      'entry: "{address} {ports}/{protocol} openme"',
      "server.command.list: expected a program that prints such lines, got nothing",
    ],
    ['list: [c, "{address}"], entry: x', "server.command.list[1]: expected no placeholder, got"],
    [
      'list: [c], entry: "openme {address} {port}/{protocol}"',
      "server.command.entry: expected {address}, {protocol} and {ports} (or {port} and {end_port})",
    ],
    [
      'list: [c], entry: "{address} {ports}/{protocol}"',
      'server.command.entry: expected the word "openme" in it',
    ],
    [
      'list: [c], entry: "openme {address} {ports}/{protocol} {timeout_s}"',
      "server.command.entry: expected {address} or {family} or",
    ],
  ].map(([more, error]) => ({
    server: ["firewall: command", `command: {open: [a], close: [b], ${more}}`],
    error: error!,
  })),
  { server: ["on_stop: shut"], error: 'server.on_stop: expected "open" or "closed", got "shut"' },
  { server: ["separate: on"], error: 'server.separate: expected "auto" or "off", got "on"' },
  { server: ["separate: false"], error: 'server.separate: expected "auto" or "off", got false' },
  ...([
    ["name: vps", 'server.fleet.url: expected a URL such as "rediss://:PASSWORD@'],
    ["url: redis://box", "server.fleet.name: "],
    ["name: vps, url: 6379", "server.fleet.url: expected a URL such as"],
    ["name: vps, url: 'redis://:100%sure@box'", "got a % that stands for no character: write %25"],
    ["name: 'redis://:word@box'", 'that starts with a letter, got "redis://(hidden)"'],
    [`host: 'rediss://:w"o@box', name: vps, url: 'redis://box'`, 'got "rediss://(hidden)"'],
    [`'redis://:word@box': 1`, 'server.fleet."redis://(hidden)": unknown key'],
    ["name: vps, url: box", "got text that is no URL"],
    ["name: vps, url: 'http://box'", "got another protocol"],
    ["name: vps, url: 'redis://'", "got one without a host"],
    ["name: vps, url: 'redis://box?x=1'", "got one with a query or a fragment"],
    ["name: vps, url: 'redis://box/a'", "got a path that is no database's number"],
    ["name: vps, url: 'redis://box', when_down: wait", 'expected "alone" or "refuse", got "wait"'],
    ["name: vps, url: 'rediss://box', trust: ca.pem", "expected the absolute path of a file"],
    ["name: vps, url: 'redis://box', trust: /ca.pem", "expected a url with TLS beside it"],
    ["name: vps, url: 'redis://box', nodes: 3", "server.fleet.nodes: unknown key"],
  ] as const).map(([fleet, error]) => ({ server: [`fleet: {${fleet}}`], error })),
  ...["9469", "localhost:9469", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:9469"].map((
    value,
  ) => ({
    server: [`metrics: "${value}"`],
    error: `server.metrics: expected an address and a port, such as "127.0.0.1:9469" or ` +
      `"[::1]:9469", or the absolute path of a Unix socket, got "${value}"`,
  })),
  {
    server: ["metrics_client_names: all"],
    error: 'server.metrics_client_names: expected true or false, got "all"',
  },
  {
    server: ["closed_as: hidden"],
    error: 'server.closed_as: expected "drop" or "reject", got "hidden"',
  },
  ...["0", "3", "-1", "0.5", "0x", "0x100000000", "4294967296", "0x3", "true", "[1]", "1e3"].map((
    value,
  ) => ({
    server: [`mark: ${value}`],
    error: 'server.mark: expected one bit of 32, such as "0x20000000", got',
  })),
  {
    server: ["firewall: iptables-nft", "drop_ports: true", "closed_as: reject"],
    error: 'server.closed_as: expected "drop", got "reject"',
  },
  {
    server: ["firewall: command", "command: {open: [a], close: [b]}", "drop_ports: true"],
    error: "server.drop_ports: expected false, got true",
  },
  {
    rest: "ports: {ssh: {ports: [22/tcp], guard: {forwards: true}}}\n",
    error: "ports.ssh.guard.forwards: unknown key",
  },
  {
    rest: "ports: {ssh: {guard: {forward: true}}}\n",
    error: "ports.ssh.ports: expected a list",
  },
];

for (const { server = [], rest = "", error } of WRONG) {
  Deno.test(`the configuration refuses ${[...server, rest.trim()].filter(Boolean).join("; ")}`, () => {
    assert.throws(() => config(server, rest), (thrown) => {
      assert.ok(thrown instanceof OpenmeError);
      assert.ok(thrown.message.includes(error), thrown.message);
      return true;
    });
  });
}

Deno.test("a command gets parsed values as whole arguments or inside one, and nothing else", () => {
  const entry = {
    address: network("2001:db8::7"),
    ports: { protocol: "udp" as const, first: 8080, last: 8090 },
    client: "alice,bob",
  };
  const line = [
    "x",
    "{address}",
    "ipv{family}",
    "{port}-{end_port}/{protocol}",
    "{ports}",
    "{client}",
    "{timeout_s}s",
    "$(id)",
  ];
  assert.deepEqual(fillIn(line, entry, 30_900), [
    "x",
    "2001:db8::7",
    "ipv6",
    "8080-8090/udp",
    "8080:8090",
    "alice,bob",
    "30s",
    "$(id)",
  ]);
  const wide = { ...entry, address: network("198.51.100.0/24") };
  assert.deepEqual(fillIn(["{address}", "{family}"], wide, 1), ["198.51.100.0/24", "4"]);
  assert.equal(fillIn(["{timeout_s}"], entry, 200)[0], "1", "0 would mean for ever to some");
  assert.equal(
    fillIn(["{ports}"], { ...entry, ports: { ...entry.ports, last: 8080 } }, 1)[0],
    "8080",
  );
});

Deno.test("parseListening() finds ports that others can reach, not those of the loopback", () => {
  const table = `  sl  local_address rem_address   st
   0: 00000000:0016 00000000:0000 0A
   1: 0100007F:0019 00000000:0000 0A
   2: 0100000A:0050 00000000:0000 0A
   3: 0100000A:0051 0200000A:1234 01
   4: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A
   5: 0000000000000000FFFF00000100007F:0278 00000000000000000000000000000000:0000 0A
   6: 000080FE000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A
`;
  assert.deepEqual(parseListening(table, "0A"), [22, 80, 8080]);
  assert.deepEqual(parseListening("garbage\n\n", "0A"), []);
});

Deno.test("parseSshConnection() takes what sshd sets, and nothing else", () => {
  assert.deepEqual(parseSshConnection("192.0.2.7 50022 198.51.100.1 22"), {
    remote: "192.0.2.7",
    remotePort: 50022,
    localPort: 22,
  });
  assert.equal(parseSshConnection("fe80::1%eth0 50022 fe80::2%eth0 22")?.remote, "fe80::1");
  for (const text of [undefined, "", "nonsense", "; id"]) {
    assert.equal(parseSshConnection(text), undefined);
  }
});

Deno.test("what a backend cannot close by itself may be said where it is not asked to", () => {
  for (const firewall of ["nft", "pf", "auto", "none"]) {
    config([`firewall: ${firewall}`, "drop_ports: true", "closed_as: reject"]);
  }
  config(["firewall: iptables", "drop_ports: false", "closed_as: reject"]);
});

Deno.test("parseSocket() takes what ss prints of a connection", () => {
  const users = 'users:(("sshd",pid=12,fd=4),("sshd",pid=3,fd=4))';
  for (
    const [line, remote] of [
      [`0      0      198.51.100.1:22  192.0.2.7:50022 ${users}`, "192.0.2.7"],
      [`0      0      [::ffff:198.51.100.1]:22  [::ffff:192.0.2.7]:50022 ${users}`, "192.0.2.7"],
      [`0      36     [2001:db8::1]:22 [2001:db8::7]:50022 ${users}`, "2001:db8::7"],
      [`0 0 [fe80::1]%eth0:22 [fe80::7%eth0]:50022 ${users}`, "fe80::7"],
    ]
  ) assert.deepEqual(parseSocket(line!), { remote, remotePort: 50022, localPort: 22 }, line);
  assert.equal(parseSocket("0 0 198.51.100.1:22 192.0.2.7:50022"), undefined);
});

Deno.test("check names what can hardly be meant", () => {
  const oddities = odditiesOf(config(["drop_ports: false"], "ports: {ssh: [22/tcp]}\n"), 0);
  assert.deepEqual(oddities.map((each) => each.split(":")[0]), ["clients", "server.drop_ports"]);
  assert.match(
    odditiesOf(config(["firewall: none", "drop_ports: true"]), 0).join("\n"),
    /none guards nothing/,
  );
});

Deno.test("the knock port among the guarded ones is odd: it can never be guarded", () => {
  const why = (place: string, port: number) =>
    `${place}: ${port}/udp takes knocks, and is never guarded; a service there needs another port`;
  const odd = (server: string[], rest: string) =>
    odditiesOf(config(server, rest), 0).filter((each) => each.includes("never guarded"));
  assert.deepEqual(odd([], "ports: {a: [54154/udp], b: [22/tcp], c: [54000-55000]}\n"), [
    why("ports.a", 54154),
    why("ports.c", 54154),
  ]);
  assert.deepEqual(odd(["udp_port: 4000"], "ports: {a: [54154/udp, 4000/tcp]}\n"), []);
  const client = (ports: string) =>
    `clients: {al: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [${ports}]}}\n`;
  assert.deepEqual(odd([], client("54154/udp")), [why("clients.al", 54154)]);
  assert.deepEqual(odd([], client("54154/tcp")), []);
});
