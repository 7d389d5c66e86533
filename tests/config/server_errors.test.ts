/** Bad server files: the file as a whole, and its `server` section. Each with the whole error. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { FIREWALLS } from "../../lib/firewall/plan.ts";
import {
  ALICE_PUBLIC,
  configErrorOf,
  file,
  inServer,
  NAME_EXPECTED as NAME,
  type Row,
  SERVER_KEY,
  serverFile,
  testRefused,
} from "./support.ts";

const TIMEOUT = `a duration from 1s to 24h0m0s, such as "30s"`;
const WINDOW = `a duration from 1s to 1h0m0s, such as "30s"`;
const SERVER_PRIVATE = "server.private_key: expected the server's X25519 private key";
const NAMED_FIREWALLS = FIREWALLS.map((name) => `"${name}"`).join(" or ");

const ROWS: readonly Row[] = [
  file("an empty file", "", "the file: expected a map, got nothing"),
  file("only a comment", "# nothing here\n", "the file: expected a map, got nothing"),
  file("a list at the top", "- server\n", "the file: expected a map, got a list"),
  file("a text at the top", "server", `the file: expected a map, got "server"`),
  file("an empty map", "{}", "server: expected a map, got nothing"),
  file("an empty section", "server:\n", "server: expected a map, got nothing"),
  file("a section that is a list", "server: [1]\n", "server: expected a map, got a list"),
  file("a number as a key", "1: 2\n", "the file: expected keys that are text, got 1"),
  file("a list as a key", "? [a]\n: b\n", "the file: expected keys that are text, got a list"),
  file(
    "an unknown section",
    serverFile("client:", "  alice: {}"),
    "client: unknown key",
    `did you mean "clients"?`,
  ),
  file(
    "an unknown section like none that is known",
    serverFile("logging: {}"),
    "logging: unknown key",
    "the keys here are server, ports, clients",
  ),
  file(
    "an unprintable section",
    `"a\\eb": {}\n`,
    String.raw`"a\u001bb": unknown key`,
    "the keys here are server, ports, clients",
  ),
  file(
    "__proto__ as a section",
    "__proto__: {}\n",
    "__proto__: unknown key",
    "the keys here are server, ports, clients",
  ),
  file(
    "constructor as a section",
    "constructor: {}\n",
    "constructor: unknown key",
    "the keys here are server, ports, clients",
  ),

  inServer("an unknown key", "udp_prt: 1", "udp_prt: unknown key", `did you mean "udp_port"?`),
  inServer(
    "a misspelt key",
    "replay-window: 1m",
    "replay-window: unknown key",
    `did you mean "replay_window"?`,
  ),
  inServer(
    "a port as text",
    `udp_port: "54154"`,
    `udp_port: expected a port from 1 to 65535, got "54154"`,
  ),
  inServer("port 0", "udp_port: 0", "udp_port: expected a port from 1 to 65535, got 0"),
  inServer(
    "a port too high",
    "health_port: 65536",
    "health_port: expected a port from 1 to 65535, got 65536",
  ),
  inServer(
    "a negative port",
    "health_port: -1",
    "health_port: expected a port from 1 to 65535, got -1",
  ),
  inServer("half a port", "udp_port: 80.5", "udp_port: expected a port from 1 to 65535, got 80.5"),
  inServer(
    "a port that is none",
    "udp_port: .nan",
    "udp_port: expected a port from 1 to 65535, got NaN",
  ),
  inServer(
    "a list of ports",
    "udp_port: [80]",
    "udp_port: expected a port from 1 to 65535, got a list",
  ),
  inServer(
    "a host with a space",
    "host: vpn example",
    `host: expected a host name or an address, got "vpn example"`,
  ),
  inServer(
    "a host for the shell",
    "host: $(id)",
    `host: expected a host name or an address, got "$(id)"`,
  ),
  inServer(
    "a host with a hyphen first",
    "host: -oProxy",
    `host: expected a host name or an address, got "-oProxy"`,
  ),
  inServer(
    "a host in brackets with a port",
    `host: "[::1]:22"`,
    `host: expected a host name or an address, got "[::1]:22"`,
  ),
  inServer(
    "a host with a line break",
    String.raw`host: "a\nb"`,
    String.raw`host: expected a host name or an address, got "a\nb"`,
  ),
  inServer("a number as a host", "host: 5", "host: expected a host name or an address, got 5"),
  inServer(
    "a bare number as a duration",
    "knock_timeout: 30",
    `knock_timeout: expected ${TIMEOUT}, got 30`,
  ),
  inServer(
    "a timeout too short",
    "knock_timeout: 999ms",
    `knock_timeout: expected ${TIMEOUT}, got "999ms"`,
  ),
  inServer(
    "a timeout too long",
    "knock_timeout: 24h1s",
    `knock_timeout: expected ${TIMEOUT}, got "24h1s"`,
  ),
  inServer(
    "a timeout of no length",
    "knock_timeout: 0s",
    `knock_timeout: expected ${TIMEOUT}, got "0s"`,
  ),
  inServer(
    "a timeout without end",
    "knock_timeout: .inf",
    `knock_timeout: expected ${TIMEOUT}, got Infinity`,
  ),
  inServer(
    "a bare number as a window",
    "replay_window: 60",
    `replay_window: expected ${WINDOW}, got 60`,
  ),
  inServer(
    "a window too short",
    "replay_window: 500ms",
    `replay_window: expected ${WINDOW}, got "500ms"`,
  ),
  inServer(
    "a window too long",
    "replay_window: 1h1ms",
    `replay_window: expected ${WINDOW}, got "1h1ms"`,
  ),
  inServer(
    "a negative window",
    "replay_window: -30s",
    `replay_window: expected ${WINDOW}, got "-30s"`,
  ),
  inServer("YAML 1.1's yes", "drop_ports: yes", `drop_ports: expected true or false, got "yes"`),
  inServer(
    "a flag in quotes",
    `open_knock_port: "true"`,
    `open_knock_port: expected true or false, got "true"`,
  ),
  inServer("a number as a flag", "drop_ports: 1", "drop_ports: expected true or false, got 1"),
  inServer(
    "an unknown firewall",
    "firewall: ipchains",
    `firewall: expected ${NAMED_FIREWALLS}, got "ipchains"`,
  ),
  inServer(
    "a pattern as an interface",
    "interface: eth*",
    `interface: expected the name of a network interface, such as "eth0", got "eth*"`,
  ),
  inServer(
    "an interface of 16 characters",
    "interface: abcdefghijklmnop",
    `interface: expected the name of a network interface, such as "eth0", got "abcdefghijklmnop"`,
  ),
  inServer(
    "a relative path",
    "state_dir: var/lib",
    `state_dir: expected an absolute path, got "var/lib"`,
  ),
  inServer(
    "a program as one line",
    "notify: /usr/local/bin/tell --who",
    `notify: expected a list, got "/usr/local/bin/tell --who"`,
  ),
  inServer(
    "no program",
    "notify: []",
    "notify: expected a list: a program and its arguments, got nothing",
  ),
  inServer(
    "a program without a name",
    `notify: ["", x]`,
    "notify: expected a list: a program and its arguments, got nothing",
  ),
  inServer(
    "an argument that is no text",
    "notify: [tell, 7]",
    "notify[1]: expected a program's name or an argument, as text, got 7",
  ),
  inServer(
    "a NUL in an argument",
    String.raw`notify: [tell, "a\0b"]`,
    String.raw`notify[1]: expected a program's name or an argument, as text, got "a\u0000b"`,
  ),
  inServer(
    "a NUL in a path",
    String.raw`state_dir: "/a\0b"`,
    String.raw`state_dir: expected an absolute path, got "/a\u0000b"`,
  ),
  inServer(
    "a profile named by a number",
    "default_profile: 1st",
    `default_profile: expected ${NAME}, got "1st"`,
  ),
  inServer(
    "a public key that is short",
    "public_key: AAAA",
    "public_key: expected the server's X25519 public key (32 bytes in base64), got 3 bytes",
  ),
  inServer(
    "another server's public key",
    `public_key: ${ALICE_PUBLIC}`,
    "public_key: expected the public key of server.private_key, got another one",
    "one of the two lines is from another server: restore the file, or run openme init again",
  ),
  file(
    "no private key",
    "server:\n  udp_port: 1\n",
    `${SERVER_PRIVATE} (32 bytes in base64), got nothing`,
  ),
  file(
    "a short private key",
    "server:\n  private_key: AAAA\n",
    `${SERVER_PRIVATE} (32 bytes in base64), got 3 bytes`,
  ),
  file(
    "a long private key",
    `server:\n  private_key: ${"AAAA".repeat(11)}\n`,
    `${SERVER_PRIVATE} (32 bytes in base64), got 33 bytes`,
  ),
  file(
    "a private key in hex",
    `server:\n  private_key: "${"01".repeat(32)}"\n`,
    `${SERVER_PRIVATE} (32 bytes in base64), got 48 bytes`,
  ),
  ...[
    ["padding left out", SERVER_KEY.slice(0, -1)],
    ["another character", `${SERVER_KEY}x`],
    ["the URL alphabet", SERVER_KEY.replaceAll("+", "-").replaceAll("/", "_")],
    ["a number", "12345"],
    ["a list", "[a]"],
  ].map(([why, key]) =>
    file(
      `a private key that is not base64: ${why}`,
      `server:\n  private_key: ${key}\n`,
      `${SERVER_PRIVATE} (32 bytes in base64), got text that is not base64`,
    )
  ),
];

testRefused(ROWS);

Deno.test("an error quotes the name of the file, so that it cannot forge a line", async () => {
  const error = await configErrorOf(() => parseServerConfig("", "a\nopenme: error: b"));
  const expected = String
    .raw`cannot load "a\nopenme: error: b": the file: expected a map, got nothing`;
  assert.equal(error.message, expected);
});
