/**
 * YAML's own traps, each in a configuration that is good without it: it is an error about the trap, with the place, or it
 * means what it says; and none takes long.
 */

import assert from "node:assert/strict";
import { parseClientConfig, pickProfile } from "../../lib/config/profiles.ts";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import { encodeBase64, hexToBytes } from "../../lib/crypto/keys.ts";
import { messageOf, OpenmeError } from "../../lib/values/errors.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { ALICE, BOB, SERVER_PRIVATE_KEY, SERVER_PUBLIC_KEY } from "../support/knocks.ts";
import { YAML_TRAPS } from "./fuzz_subjects.ts";

const ALICE_KEY = encodeBase64(hexToBytes(ALICE.key));
const GOOD = `server:
  private_key: ${encodeBase64(SERVER_PRIVATE_KEY)}
  public_key: ${encodeBase64(SERVER_PUBLIC_KEY)}
  udp_port: 54154
  drop_ports: true
  knock_timeout: 45s
ports:
  ssh: ["22/tcp"]
clients:
  alice:
    ed25519_pubkey: ${ALICE_KEY}
    allowed_ports: [ssh]
`;

/** The good one with something in it replaced, which must be there. */
function where(found: string, put: string, text = GOOD): string {
  assert.ok(text.includes(found), found);
  return text.replace(found, () => put);
}

/** What a configuration comes down to. */
function essence({ udpPort, dropPorts, knockTimeoutMs, clients }: ServerConfig) {
  return {
    udpPort,
    dropPorts,
    knockTimeoutMs,
    clients: clients.map(({ name, ports }) => `${name} ${ports.map(formatPortRange)}`),
  };
}

const MEANT = {
  udpPort: 54154,
  dropPorts: true,
  knockTimeoutMs: 45_000,
  clients: ["alice 22/tcp,54154/tcp"],
};

/** What means the same as without the trap, or what it says. */
const HARMLESS: { why: string; text: string; means?: Partial<typeof MEANT> }[] = [
  { why: "nothing", text: GOOD },
  { why: "a byte order mark", text: `\ufeff${GOOD}` },
  { why: "the line ends of Windows", text: GOOD.replaceAll("\n", "\r\n") },
  { why: "a tab before a value", text: where("udp_port: ", "udp_port:\t") },
  { why: "an anchor that nobody uses", text: where("[ssh]", "&a [ssh]") },
  {
    why: "an alias",
    text: where("[ssh]", "*s", where(`["22/tcp"]`, `&s ["22/tcp"]`)),
  },
  { why: "a folded block", text: where("45s", ">-\n    45s") },
  { why: "a block that keeps no line end", text: where("45s", "|-\n    45s") },
  { why: "the end of the document", text: `${GOOD}...\n` },
  {
    why: "a client called no",
    text: where("alice", "no"),
    means: { clients: ["no 22/tcp,54154/tcp"] },
  },
  {
    why: "a client called constructor",
    text: where("alice", "constructor"),
    means: { clients: ["constructor 22/tcp,54154/tcp"] },
  },
  { why: "a port that is null", text: where("54154", "~") },
];

for (const { why, text, means = {} } of HARMLESS) {
  Deno.test(`a configuration with ${why} means what it says`, () => {
    assert.deepEqual(essence(parseServerConfig(text, "trap")), { ...MEANT, ...means });
  });
}

const PORT = "server.udp_port: expected a port from 1 to 65535, got";
const NAME = "clients: expected a name of letters, digits, dots, hyphens and underscores that " +
  "starts with a letter, got";
const aliases = Array.from({ length: 8 }, (_, i) => {
  const inner = i === 0 ? `"22/tcp"` : `*${"abcdefgh"[i - 1]}`;
  return `  ${"abcdefgh"[i]}: &${"abcdefgh"[i]} [${Array(9).fill(inner)}]\n`;
}).join("");

/** What must not get in, and what is said about it. */
const REFUSED: { why: string; text: string; error: string }[] = [
  {
    why: "a merge key",
    text: where("  alice:", "  alice: &a") +
      `  bob:\n    <<: *a\n    ed25519_pubkey: ${encodeBase64(hexToBytes(BOB.key))}\n`,
    error: 'clients.bob."<<": unknown key',
  },
  {
    why: "an alias to what it is in",
    text: where(`["22/tcp"]`, `&s [*s, "22/tcp"]`),
    error: `ports.ssh[0]: expected a port such as "22/tcp" or a group name, got a list`,
  },
  {
    why: "aliases that multiply",
    text: where("ports:\n", `ports:\n${aliases}`),
    error: "the file: Excessive alias count indicates a resource exhaustion attack",
  },
  {
    why: "a key twice",
    text: where("  udp_port: 54154\n", "  udp_port: 54154\n  udp_port: 22\n"),
    error: "server.udp_port: expected once, got again in line 5, column 3",
  },
  {
    why: "a client twice",
    text: `${GOOD}  alice:\n    ed25519_pubkey: ${ALICE_KEY}\n    allowed_ports: ["1-65535/tcp"]\n`,
    error: "clients.alice: expected once, got again in line 13, column 3",
  },
  {
    why: "a section twice",
    text: `${GOOD}server: {}\n`,
    error: "server: expected once, got again in line 13, column 1",
  },
  {
    why: "a tab for indentation",
    text: where("  udp_port", "\tudp_port"),
    error: "line 4, column 1: Tabs are not allowed as indentation",
  },
  {
    why: "the line ends of old Macs",
    text: GOOD.replaceAll("\n", "\r"),
    error: "line 1, column 8: Nested mappings are not allowed in compact mappings",
  },
  { why: "a port in hex", text: where("54154", "0xd38a"), error: `${PORT} "0xd38a"` },
  { why: "a port in octal", text: where("54154", "0o151612"), error: `${PORT} "0o151612"` },
  { why: "a port with an exponent", text: where("54154", "5.4154e4"), error: `${PORT} "5.4154e4"` },
  {
    why: "a huge number",
    text: where("54154", "9".repeat(24)),
    error: `${PORT} "${"9".repeat(24)}"`,
  },
  {
    why: "a number beyond all numbers",
    text: where("54154", "1e400"),
    error: `${PORT} Infinity`,
  },
  { why: "infinity", text: where("54154", ".inf"), error: `${PORT} Infinity` },
  { why: "no number", text: where("54154", ".nan"), error: `${PORT} NaN` },
  { why: "a negative port", text: where("54154", "-1"), error: `${PORT} -1` },
  { why: "the octal of YAML 1.1", text: where("54154", "0151612"), error: `${PORT} "0151612"` },
  {
    why: "the underscores of YAML 1.1",
    text: where("54154", "54_154"),
    error: `${PORT} "54_154"`,
  },
  {
    why: "the hours of YAML 1.1",
    text: where(`["22/tcp"]`, "[22:22]"),
    error: `ports.ssh[0]: expected a port such as "22/tcp" or a group name, got "22:22"`,
  },
  {
    why: "the truth of YAML 1.1",
    text: `%YAML 1.1\n---\n${where("drop_ports: true", "drop_ports: no")}`,
    error: `server.drop_ports: expected true or false, got "no"`,
  },
  {
    why: "a block with its line end",
    text: where("45s", "|\n    45s"),
    error: String
      .raw`server.knock_timeout: expected a duration from 1s to 24h0m0s, such as "30s", got "45s\n"`,
  },
  {
    why: "a second document",
    text: `${GOOD}---\nserver: {}\n`,
    error: "line 13, column 1: expected one document, got another one here",
  },
  { why: "a number that is text", text: where("54154", "!!str 54154"), error: `${PORT} "54154"` },
  {
    why: "a tag of a program",
    text: where("54154", "!!js/function x"),
    error: "line 4, column 13: Unresolved tag: tag:yaml.org,2002:js/function",
  },
  {
    why: "a tag of bytes",
    text: where(ALICE_KEY, `!!binary ${ALICE_KEY}`),
    error: "line 11, column 21: Unresolved tag: tag:yaml.org,2002:binary",
  },
  {
    why: "a prototype",
    text: `${GOOD}__proto__: {udp_port: 1}\n`,
    error: "__proto__: unknown key",
  },
  {
    why: "a client called __proto__",
    text: where("alice", "__proto__"),
    error: `${NAME} "__proto__"`,
  },
  {
    why: "a byte of zeros in a name",
    text: where("alice:", `"al\\0ice":`),
    error: String.raw`${NAME} "al\u0000ice"`,
  },
  {
    why: "a name that is written backwards",
    text: where("alice", "al\u202eice"),
    error: String.raw`${NAME} "al\u202eice"`,
  },
  {
    why: "a key that is a list",
    text: where("  alice:", "  ? [a, b]\n  :"),
    error: "clients: expected keys that are text, got a list",
  },
  {
    why: "a key that is a number",
    text: where("  alice:", "  123:"),
    error: "clients: expected keys that are text, got 123",
  },
];

for (const { why, text, error } of REFUSED) {
  Deno.test(`a configuration with ${why} is refused for that`, () => {
    assert.throws(() => parseServerConfig(text, "trap"), (thrown) => {
      assert.ok(thrown instanceof OpenmeError && thrown.code === "CONFIG");
      assert.equal(thrown.message, `cannot load "trap": ${error}`);
      return true;
    });
  });
}

const PROFILE = `profiles:
  home:
    server_host: vps.example.org
    server_pubkey: ${encodeBase64(SERVER_PUBLIC_KEY)}
    private_key: ${encodeBase64(ALICE.seed)}
    server_udp_port: 54154
`;

Deno.test("a profile with a trap in it means what it says, or is refused for that", async () => {
  const portOf = async (text: string) => {
    try {
      return pickProfile(await parseClientConfig(text, "trap"), undefined).serverUdpPort;
    } catch (error) {
      return messageOf(error).replace('cannot load "trap": ', "");
    }
  };
  const rows: [text: string, expected: unknown][] = [
    [PROFILE, 54154],
    [`\ufeff${PROFILE}`, 54154],
    [PROFILE.replaceAll("\n", "\r\n"), 54154],
    [where("54154", "0xd38a", PROFILE), /expected a port from 1 to 65535, got "0xd38a"/],
    [where("    server_udp", "\tserver_udp", PROFILE), /Tabs are not allowed|indent/],
    [
      where("  home:", "  home: &h", PROFILE) + "  away:\n    <<: *h\n",
      /profiles\.away\."<<": unknown key/,
    ],
    [`${PROFILE}    server_udp_port: 22\n`, /server_udp_port: expected once, got again/],
    [`${PROFILE}---\nprofiles: {}\n`, /expected one document/],
    [where("54154", "1e400", PROFILE), /expected a port from 1 to 65535, got Infinity/],
  ];
  for (const [text, expected] of rows) {
    const got = await portOf(text);
    if (expected instanceof RegExp) assert.match(String(got), expected);
    else assert.equal(got, expected);
  }
});

const DEEP = ["[", "{a: ", "- ", "? ", "- - ", "a:\n  "].map((each) => each.repeat(5000));

for (const trap of [...YAML_TRAPS, ...DEEP, ...DEEP.map((each) => `${GOOD}more: ${each}`)]) {
  const shown = JSON.stringify(trap.slice(-40));
  Deno.test(`a configuration that ends in ${shown} is an OpenmeError, within 10 s`, async () => {
    const start = performance.now();
    assert.throws(() => parseServerConfig(trap, "trap"), OpenmeError);
    await assert.rejects(() => parseClientConfig(trap, "trap"), OpenmeError);
    assert.ok(performance.now() - start < 10_000);
  });
}

Deno.test("nested text says what is wrong with it", () => {
  for (const text of ["- ".repeat(5000), where("[ssh]", "[".repeat(5000) + "]".repeat(5000))]) {
    assert.throws(() => parseServerConfig(text, "deep"), /: it is nested too deep$/);
  }
});
