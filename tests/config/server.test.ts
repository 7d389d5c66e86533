/** Good server files: what every key means, and the default of each. */

import assert from "node:assert/strict";
import { parseExpiry } from "../../lib/config/clients.ts";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import { bytesToHex, decodeBase64, encodeBase64 } from "../../lib/crypto/keys.ts";
import { formatPortRange, type PortRange } from "../../lib/values/ports.ts";
import {
  ALICE_PUBLIC,
  aliceFile,
  BOB_PUBLIC,
  CLIENT_PUBLIC,
  CLIENT_SEED,
  SERVER_KEY,
  SERVER_PUBLIC,
  serverFile,
} from "./support.ts";
import { ALICE, knockBy, must } from "../support/knocks.ts";

const FULL = `# openme server configuration
server:
  host: vpn.example.org       # how clients reach it
  udp_port: 7777
  health_port: 7778
  firewall: nft
  mark: 0x20000000
  separate: off
  fleet: {name: vps, url: "rediss://:word@valkey.example.org:6379/1", when_down: refuse}
  knock_timeout: 1m0s
  replay_window: 90s
  private_key: "${SERVER_KEY}"
  public_key: '${SERVER_PUBLIC}'
  open_knock_port: false
  only_stamped_knocks: true
  drop_ports: true
  interface: eth0.100
  default_profile: work
  state_dir: /srv/openme
  previous_private_key: "${CLIENT_SEED}"
  notify: [/usr/local/bin/tell, --who, "a b"]
  metrics: "[::1]:9469"
  metrics_client_names: true

ports:
  ssh:
    - 22/tcp
  web: [80, 443/tcp, 8080-8090/tcp]

clients:
  alice:
    ed25519_pubkey: ${ALICE_PUBLIC}
    allowed_ports:
      - ssh
      - web
      - 53/udp
    expires: 2027-12-31T18:00:00+02:00
    previous_pubkey: ${CLIENT_PUBLIC}
    previous_until: 2026-01-01
    prefix: {v4: 24, v6: 64}
  bob.laptop-2_x:
    ed25519_pubkey: ${BOB_PUBLIC}
    allowed_ports:
      - 80
      - 81
    disable_health_port: true
`;

function textsOf(ranges: readonly PortRange[]): string[] {
  return ranges.map(formatPortRange);
}

/** The configuration with keys and ports as text, and without the verifiers. */
function plain({ clients, keys: _, groups, guardedPorts, ...rest }: ServerConfig) {
  return {
    ...rest,
    privateKey: encodeBase64(rest.privateKey),
    publicKey: encodeBase64(rest.publicKey),
    previousPrivateKey: rest.previousPrivateKey && encodeBase64(rest.previousPrivateKey),
    groups: Object.fromEntries([...groups].map(([name, ranges]) => [name, textsOf(ranges)])),
    guardedPorts: textsOf(guardedPorts),
    clients: clients.map(({ publicKey, ports, previous, ...client }) => ({
      ...client,
      previous: previous && { key: previous.key, untilMs: previous.untilMs },
      publicKey: encodeBase64(publicKey),
      ports: textsOf(ports),
    })),
  };
}

Deno.test("parseServerConfig() reads every key", () => {
  assert.deepEqual(plain(parseServerConfig(FULL, "x")), {
    host: "vpn.example.org",
    udpPort: 7777,
    namedUdpPort: 7777,
    healthPort: 7778,
    firewall: "nft",
    command: undefined,
    mark: 0x2000_0000,
    closedAs: "drop",
    onStop: "open",
    separate: "off",
    fleet: {
      name: "vps",
      host: undefined,
      url: "rediss://:word@valkey.example.org:6379/1",
      trust: undefined,
      whenDown: "refuse",
    },
    forwardedPorts: [],
    knockTimeoutMs: 60_000,
    replayWindowMs: 90_000,
    privateKey: SERVER_KEY,
    publicKey: SERVER_PUBLIC,
    previousPrivateKey: CLIENT_SEED,
    openKnockPort: false,
    onlyStampedKnocks: true,
    dropPorts: true,
    interface: "eth0.100",
    defaultProfile: "work",
    stateDir: "/srv/openme",
    notify: ["/usr/local/bin/tell", "--who", "a b"],
    metrics: { transport: "tcp", hostname: "::1", port: 9469 },
    metricsClientNames: true,
    groups: {
      ssh: ["22/tcp"],
      web: ["80/tcp", "443/tcp", "8080-8090/tcp", "80/udp"],
    },
    clients: [
      {
        name: "alice",
        key: bytesToHex(must(decodeBase64(ALICE_PUBLIC))),
        publicKey: ALICE_PUBLIC,
        ports: [
          "22/tcp",
          "80/tcp",
          "443/tcp",
          "7778/tcp",
          "8080-8090/tcp",
          "53/udp",
          "80/udp",
        ],
        previous: {
          key: bytesToHex(must(decodeBase64(CLIENT_PUBLIC))),
          untilMs: Date.UTC(2026, 0, 1),
        },
        expiresAtMs: Date.UTC(2027, 11, 31, 16),
        prefix: { v4: 24, v6: 64 },
        rules: undefined,
        extensions: [],
      },
      {
        name: "bob.laptop-2_x",
        key: bytesToHex(must(decodeBase64(BOB_PUBLIC))),
        publicKey: BOB_PUBLIC,
        ports: ["80-81/tcp", "80-81/udp"],
        previous: undefined,
        expiresAtMs: undefined,
        prefix: { v4: 32, v6: 128 },
        rules: undefined,
        extensions: [],
      },
    ],
    guardedPorts: [
      "22/tcp",
      "80-81/tcp",
      "443/tcp",
      "7778/tcp",
      "8080-8090/tcp",
      "53/udp",
      "80-81/udp",
    ],
  });
});

Deno.test("parseServerConfig() takes the deployed servers' defaults", () => {
  assert.deepEqual(plain(parseServerConfig(serverFile(), "x")), {
    host: undefined,
    udpPort: 54154,
    namedUdpPort: 54154,
    healthPort: 54154,
    firewall: "nft",
    command: undefined,
    mark: 0x4000_0000,
    closedAs: "drop",
    onStop: "open",
    separate: "auto",
    fleet: undefined,
    forwardedPorts: [],
    knockTimeoutMs: 30_000,
    replayWindowMs: 60_000,
    privateKey: SERVER_KEY,
    publicKey: SERVER_PUBLIC,
    previousPrivateKey: undefined,
    openKnockPort: true,
    onlyStampedKnocks: false,
    dropPorts: false,
    interface: undefined,
    defaultProfile: "default",
    stateDir: "/var/lib/openme",
    notify: undefined,
    metrics: undefined,
    metricsClientNames: false,
    groups: {},
    clients: [],
    guardedPorts: ["54154/tcp"],
  });
});

Deno.test("a client's prefix is that of each family, and a single address where it does not say", () => {
  const prefixOf = (line: string) => parseServerConfig(aliceFile(line), "x").clients[0]?.prefix;
  const rows: [string, number, number][] = [
    ["prefix: {v4: 24}", 24, 128],
    ["prefix: {v6: 64}", 32, 64],
    ["prefix: {v4: 16, v6: 48}", 16, 48],
    ["prefix: {v4: 32, v6: 128}", 32, 128],
    ["prefix: {v4: , v6: ~}", 32, 128],
    ["prefix: {}", 32, 128],
    ["prefix:", 32, 128],
  ];
  for (const [line, v4, v6] of rows) assert.deepEqual(prefixOf(line), { v4, v6 }, line);
});

Deno.test("a key without a value is as good as absent", () => {
  const expected = JSON.stringify(parseServerConfig(serverFile(), "x"));
  const keys = ["host", "udp_port", "health_port", "firewall", "knock_timeout", "replay_window"]
    .concat([
      "public_key",
      "open_knock_port",
      "only_stamped_knocks",
      "drop_ports",
      "interface",
      "default_profile",
    ])
    .concat(["state_dir", "notify", "mark", "metrics", "metrics_client_names"]);
  for (const key of keys) {
    for (const value of ["", "~", "null", '""']) {
      const config = parseServerConfig(serverFile(`  ${key}: ${value}`), "x");
      assert.equal(JSON.stringify(config), expected, `${key}: ${value}`);
    }
  }
  const config = parseServerConfig(serverFile("ports:", "clients:"), "x");
  assert.equal(JSON.stringify(config), expected);
});

Deno.test("the health port follows the knock port, and is guarded and granted", () => {
  const rows = [
    { lines: ["  udp_port: 7777"], healthPort: 7777 },
    { lines: ["  health_port: 8888"], healthPort: 8888 },
    { lines: ["  udp_port: 7777", "  health_port: 8888"], healthPort: 8888 },
  ];
  for (const { lines, healthPort } of rows) {
    const entry = ["clients:", "  alice:", `    ed25519_pubkey: ${ALICE_PUBLIC}`];
    const config = parseServerConfig(serverFile(...lines, ...entry), "x");
    assert.equal(config.healthPort, healthPort);
    assert.deepEqual(textsOf(config.guardedPorts), [`${healthPort}/tcp`]);
    assert.deepEqual(config.clients.map(({ ports }) => textsOf(ports)), [[`${healthPort}/tcp`]]);
  }
});

Deno.test("a server that runs keeps its knock port, and the health port follows that one", () => {
  const parse = (...lines: string[]) =>
    parseServerConfig(serverFile("  udp_port: 7777", ...lines), "x", { boundPort: 54154 });
  const { udpPort, namedUdpPort, healthPort } = parse();
  assert.deepEqual({ udpPort, namedUdpPort, healthPort }, {
    udpPort: 54154,
    namedUdpPort: 7777,
    healthPort: 54154,
  });
  assert.equal(parse("  health_port: 8888").healthPort, 8888);
});

Deno.test("a client without the health port and without ports has none, the port stays guarded", () => {
  const config = parseServerConfig(aliceFile("disable_health_port: true"), "x");
  assert.deepEqual(config.clients.map(({ ports }) => ports), [[]]);
  assert.deepEqual(textsOf(config.guardedPorts), ["54154/tcp"]);
});

Deno.test("allowed ports are specs, numbers and groups, in any mixture", () => {
  const rows = [
    { value: "[80]", expected: ["80/tcp", "80/udp"] },
    { value: '["80"]', expected: ["80/tcp", "80/udp"] },
    { value: "[80/tcp]", expected: ["80/tcp"] },
    { value: "[20-22/tcp, 23/tcp]", expected: ["20-23/tcp"] },
    { value: "[ssh]", expected: ["22/tcp"] },
    { value: "[ssh, ssh, 22/tcp]", expected: ["22/tcp"] },
    { value: "[constructor]", expected: ["9/udp"] },
    { value: "[]", expected: [] },
    { value: "", expected: [] },
  ];
  for (const { value, expected } of rows) {
    const lines = ["disable_health_port: true", `allowed_ports: ${value}`];
    const text = aliceFile(...lines) + "ports: {ssh: [22/tcp], constructor: [9/udp]}\n";
    const config = parseServerConfig(text, "x");
    assert.deepEqual(config.clients.map(({ ports }) => textsOf(ports)), [expected], value);
  }
});

Deno.test("names that are special in JavaScript are ordinary names", () => {
  const names = ["constructor", "toString", "hasOwnProperty"];
  const keys = [ALICE_PUBLIC, BOB_PUBLIC, SERVER_PUBLIC];
  const entries = names.slice(0, 2).map((name, i) => `  ${name}: {ed25519_pubkey: ${keys[i]}}`);
  const config = parseServerConfig(serverFile("clients:", ...entries), "x");
  assert.deepEqual(config.clients.map(({ name }) => name), names.slice(0, 2));
  for (const name of names) assert.equal(config.groups.get(name), undefined);
});

Deno.test("durations and their bounds", () => {
  const rows = [
    { line: "knock_timeout: 1s", expected: [1000, 60_000] },
    { line: "knock_timeout: 24h", expected: [86_400_000, 60_000] },
    { line: "knock_timeout: 1m30s", expected: [90_000, 60_000] },
    { line: "knock_timeout: 1h0m0s", expected: [3_600_000, 60_000] },
    { line: "knock_timeout: 1.5s", expected: [1500, 60_000] },
    { line: "replay_window: 1000ms", expected: [30_000, 1000] },
    { line: "replay_window: 1h", expected: [30_000, 3_600_000] },
  ];
  for (const { line, expected } of rows) {
    const { knockTimeoutMs, replayWindowMs } = parseServerConfig(serverFile(`  ${line}`), "x");
    assert.deepEqual([knockTimeoutMs, replayWindowMs], expected, line);
  }
});

Deno.test("hosts and interfaces that are accepted", () => {
  for (const host of ["vpn.example.org", "a", "192.0.2.1", "2001:db8::1", "::1", "::", "a_b-c"]) {
    assert.equal(parseServerConfig(serverFile(`  host: "${host}"`), "x").host, host);
  }
  for (const name of ["eth0", "br-lan", "wlp3s0", "eth0.100", "eth0:1", "abcdefghijklmno"]) {
    assert.equal(parseServerConfig(serverFile(`  interface: ${name}`), "x").interface, name);
  }
});

Deno.test("a client's verifier is its key's", async () => {
  const config = parseServerConfig(
    serverFile(
      "clients:",
      `  alice: {ed25519_pubkey: ${ALICE_PUBLIC}}`,
      `  bob: {ed25519_pubkey: ${BOB_PUBLIC}}`,
    ),
    "x",
  );
  const datagram = await knockBy(ALICE);
  const [body, signature] = [datagram.slice(0, 101), datagram.slice(101)];
  assert.deepEqual([...config.keys.byKey.values()].map(({ verify }) => verify(body, signature)), [
    true,
    false,
  ]);
});

Deno.test("parseExpiry() reads a date or an RFC 3339 time", () => {
  const rows = [
    { text: "2027-12-31", expected: Date.UTC(2027, 11, 31) },
    { text: "2028-02-29", expected: Date.UTC(2028, 1, 29) },
    { text: "1970-01-01", expected: 0 },
    { text: "2027-12-31T18:00:00Z", expected: Date.UTC(2027, 11, 31, 18) },
    { text: "2027-12-31t18:00:00z", expected: Date.UTC(2027, 11, 31, 18) },
    { text: "2027-12-31 18:00:00Z", expected: Date.UTC(2027, 11, 31, 18) },
    { text: "2027-12-31T18:00:00+02:00", expected: Date.UTC(2027, 11, 31, 16) },
    { text: "2027-12-31T18:00:00-05:30", expected: Date.UTC(2027, 11, 31, 23, 30) },
    { text: "2027-12-31T18:00:00.5Z", expected: Date.UTC(2027, 11, 31, 18, 0, 0, 500) },
    { text: "2027-12-31T18:00:00.123456789Z", expected: Date.UTC(2027, 11, 31, 18, 0, 0, 123) },
    { text: "2027-12-31T23:59:59Z", expected: Date.UTC(2027, 11, 31, 23, 59, 59) },
  ];
  for (const { text, expected } of rows) assert.equal(parseExpiry(text), expected, text);
});

Deno.test("parseExpiry() refuses everything else", () => {
  const rows = [
    { value: "2027-02-30", why: "no such day" },
    { value: "2027-02-29", why: "not a leap year" },
    { value: "2027-02-29T00:00:00Z", why: "not a leap year" },
    { value: "2027-04-31T12:00:00+02:00", why: "no such day" },
    { value: "2027-13-01", why: "no such month" },
    { value: "2027-00-10", why: "no such month" },
    { value: "2027-12-00", why: "no such day" },
    { value: "2027-12-31T24:00:00Z", why: "RFC 3339 has hours up to 23" },
    { value: "2027-12-31T18:60:00Z", why: "no such minute" },
    { value: "2027-12-31T18:00:60Z", why: "no such second, or a leap second" },
    { value: "2027-12-31T18:00:00+24:00", why: "no such offset" },
    { value: "2027-12-31T18:00:00+02:60", why: "no such offset" },
    { value: "2027-12-31T18:00:00", why: "no zone" },
    { value: "2027-12-31T18:00Z", why: "no seconds" },
    { value: "2027-12-31T18:00:00+0200", why: "no colon in the offset" },
    { value: "2027-12-31T18:00:00.Z", why: "no digits in the fraction" },
    { value: "2027-12-31\n", why: "line break" },
    { value: " 2027-12-31", why: "space" },
    { value: "2027-12-31Z", why: "a zone without a time" },
    { value: "2027-1-1", why: "one digit" },
    { value: "27-12-31", why: "two digits" },
    { value: "+002027-12-31", why: "six digits" },
    { value: "31.12.2027", why: "another order" },
    { value: "Dec 31 2027", why: "words" },
    { value: "2027", why: "a year" },
    { value: "", why: "nothing" },
    { value: 20271231, why: "a number" },
    { value: 0, why: "a number" },
    { value: null, why: "null" },
    { value: ["2027-12-31"], why: "a list" },
    { value: new Date(0), why: "a date object" },
  ];
  for (const { value, why } of rows) {
    assert.equal(parseExpiry(value), undefined, `${value}: ${why}`);
  }
});
