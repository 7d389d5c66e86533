/** The YAML below the configuration: its errors, what openme refuses, and what it accepts. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { parseYaml } from "../../lib/config/yaml.ts";
import {
  ALICE_PUBLIC,
  aliceFile,
  configErrorOf,
  file,
  SERVER_KEY,
  serverFile,
  testRefused,
} from "./support.ts";

const TWICE_HINT = "take one of the two out";
const SERVER_KEYS_START = "the keys here are ed25519_pubkey";

testRefused([
  file(
    "a duplicate key",
    serverFile("  udp_port: 1", "  udp_port: 2"),
    "server.udp_port: expected once, got again in line 4, column 3",
    TWICE_HINT,
  ),
  file(
    "a duplicate client",
    aliceFile() + `  alice:\n    ed25519_pubkey: ${ALICE_PUBLIC}\n`,
    "clients.alice: expected once, got again in line 6, column 3",
    TWICE_HINT,
  ),
  file(
    "a duplicate group behind an anchor",
    serverFile("ports:", "  &a web: [80]", "  web: [81]").replaceAll("\n  ports", "\nports"),
    "ports.web: expected once, got again in line 5, column 3",
    TWICE_HINT,
  ),
  file(
    "a duplicate key in a list",
    serverFile("  notify: [a, {b c: 1, b c: 2}]"),
    'server.notify[1]."b c": expected once, got again in line 3, column 24',
    TWICE_HINT,
  ),
  file(
    "a duplicate key in braces",
    "server: {host: a, host: b}",
    "server.host: expected once, got again in line 1, column 19",
    TWICE_HINT,
  ),
  ...["0x16", "0o26", "2.2e1", "22.0", "+22", "022"].flatMap((number) => [
    file(
      `a group's port written as ${number}`,
      serverFile("ports:", `  ssh: [${number}]`),
      `ports.ssh[0]: expected a port such as "22/tcp" or a group name, got "${number}"`,
    ),
    file(
      `a client's port written as ${number}`,
      aliceFile(`allowed_ports: [${number}]`),
      `clients.alice.allowed_ports[0]: expected a port such as "22/tcp" or a group name, got "${number}"`,
    ),
    file(
      `a knock port written as ${number}`,
      serverFile(`  udp_port: ${number}`),
      `server.udp_port: expected a port from 1 to 65535, got "${number}"`,
    ),
  ]),
  file("a tab", "server:\n\thost: a\n", "line 2, column 1: Tabs are not allowed as indentation"),
  file(
    "a key that is not indented as its section",
    serverFile(" host: a"),
    "line 3, column 1: All mapping items must start at the same column",
  ),
  file(
    "a quote that does not end",
    `server:\n  host: "a\n`,
    `line 3, column 1: Missing closing "quote`,
  ),
  file(
    "a reserved character",
    "server:\n  host: @a\n",
    "line 2, column 9: Plain value cannot start with reserved character @",
  ),
  file(
    "a brace that does not close",
    "server: {host: a\n",
    "line 2, column 1: Flow map in block collection must be sufficiently indented and end with a }",
  ),
  file("an unknown tag", "server:\n  host: !env HOST\n", "line 2, column 9: Unresolved tag: !env"),
  file("an unknown directive", "%FOO\n---\nserver:\n", "line 1, column 1: Unknown directive %FOO"),
  file(
    "an alias of nothing",
    serverFile("  host: *nothing"),
    "the file: Unresolved alias (the anchor must be set before the alias): nothing",
  ),
  file(
    "aliases that multiply",
    "a: &a [x, x, x, x, x, x, x, x, x]\n" + "bcdefgh".replace(
      /./g,
      (name) =>
        `${name}: &${name} [${`*${String.fromCharCode(name.charCodeAt(0) - 1)}, `.repeat(9)}]\n`,
    ),
    "the file: Excessive alias count indicates a resource exhaustion attack",
  ),
  file(
    "a map that holds itself, where there should be a text",
    "server: &server\n  host: *server\n",
    "server.host: expected a host name or an address, got a map",
  ),
  // YAML 1.1's types of its own are not in YAML 1.2's core schema.
  ...["timestamp 2027-12-31", "binary AQEB", "set {a}", "omap [a: 1]"].map((value) =>
    file(
      `the tag !!${value}`,
      serverFile(`  host: !!${value}`),
      `line 3, column 9: Unresolved tag: tag:yaml.org,2002:${value.split(" ")[0]}`,
    )
  ),
]);

Deno.test("a merge key is an unknown key, in YAML 1.1 as well", async () => {
  for (const directive of ["", "%YAML 1.1\n---\n"]) {
    const text = directive + aliceFile("<<: {expires: 2027-12-31}");
    const error = await configErrorOf(() => parseServerConfig(text, "x"));
    assert.equal(error.message, `cannot load "x": clients.alice."<<": unknown key`);
    assert.ok(error.hint?.startsWith(SERVER_KEYS_START));
  }
});

Deno.test("a second document is refused, not ignored", async () => {
  for (const second of ["---\nclients: {}\n", "...\n---\nclients: {}\n", "---\n"]) {
    const error = await configErrorOf(() => parseServerConfig(serverFile() + second, "x"));
    assert.match(error.message, /^cannot load "x": .*document/);
  }
});

Deno.test("one document between marks is one document", () => {
  parseServerConfig(`---\n${serverFile()}...\n`, "x");
  parseServerConfig(`%YAML 1.2\n---\n${serverFile()}`, "x");
  parseServerConfig(`# a comment\n\n${serverFile()}\n# another\n`, "x");
});

Deno.test("a byte order mark and Windows' line ends are accepted", () => {
  const text = aliceFile("allowed_ports:", "  - 22/tcp", "expires: 2027-12-31");
  const expected = JSON.stringify(parseServerConfig(text, "x"));
  const rows = [
    "\ufeff" + text,
    text.replaceAll("\n", "\r\n"),
    "\ufeff" + text.replaceAll("\n", "\r\n"),
  ];
  for (const each of rows) assert.equal(JSON.stringify(parseServerConfig(each, "x")), expected);
});

Deno.test("line and column are right with Windows' line ends too", async () => {
  const text = serverFile("  udp_port: 1", "  udp_port: 2").replaceAll("\n", "\r\n");
  const error = await configErrorOf(() => parseServerConfig(text, "x"));
  assert.equal(
    error.message,
    'cannot load "x": server.udp_port: expected once, got again in line 4, column 3',
  );
});

Deno.test("a message from the YAML library is fit to print", async () => {
  const rows = ["a: !\u001b[31m b", "a: *\u202e", "a: !\u0085 b", "%\u001b[2J\n---\na: 1"];
  for (const text of rows) {
    const error = await configErrorOf(() => parseServerConfig(text, "x"));
    assert.match(error.message, /^[\x20-\x7e]+$/, JSON.stringify(text));
  }
});

Deno.test("nesting without end is an error like any other", async () => {
  for (const text of ["[".repeat(20_000), "{a: ".repeat(20_000), "- ".repeat(20_000)]) {
    await configErrorOf(() => parseServerConfig(text, "x"));
  }
});

Deno.test("parseYaml() gives values of the core schema, and maps in which no key is special", () => {
  const rows: { text: string; expected: unknown }[] = [
    { text: "", expected: null },
    { text: "a: 1", expected: new Map([["a", 1]]) },
    { text: "a: '1'", expected: new Map([["a", "1"]]) },
    { text: "a: yes", expected: new Map([["a", "yes"]]) },
    { text: "a: on", expected: new Map([["a", "on"]]) },
    { text: "a: True", expected: new Map([["a", true]]) },
    { text: "a: ~", expected: new Map([["a", null]]) },
    { text: "a: 2027-12-31", expected: new Map([["a", "2027-12-31"]]) },
    { text: "a: 1:30", expected: new Map([["a", "1:30"]]) },
    { text: "a: 8080-8090", expected: new Map([["a", "8080-8090"]]) },
    { text: "a: 1_000", expected: new Map([["a", "1_000"]]) },
    { text: "- 1\n- x", expected: [1, "x"] },
    { text: "a: &x [1]\nb: *x", expected: new Map([["a", [1]], ["b", [1]]]) },
    { text: "__proto__: {a: 1}", expected: new Map([["__proto__", new Map([["a", 1]])]]) },
    { text: "toString: 1", expected: new Map([["toString", 1]]) },
  ];
  for (const { text, expected } of rows) assert.deepEqual(parseYaml(text), expected, text);
});

Deno.test("the same file in YAML's other spelling, JSON, is the same configuration", () => {
  const json = JSON.stringify({
    server: { private_key: SERVER_KEY },
    clients: { alice: { ed25519_pubkey: ALICE_PUBLIC, allowed_ports: [80, "22/tcp"] } },
  });
  const yaml = aliceFile("allowed_ports: [80, 22/tcp]");
  const [a, b] = [parseServerConfig(json, "x"), parseServerConfig(yaml, "x")];
  assert.equal(JSON.stringify(a), JSON.stringify(b));
});
