/** The reader of plain YAML against the YAML library: the values that it returns are the same. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { readPlainYaml } from "../../lib/config/plain_yaml.ts";
import { type NewProfile, renderProfileYaml } from "../../lib/config/profile_text.ts";
import { parseYaml } from "../../lib/config/yaml.ts";
import { ALICE_PUBLIC, serverFile } from "./support.ts";

const profile: fc.Arbitrary<NewProfile> = fc.record({
  name: fc.oneof(
    fc.stringMatching(/^[A-Za-z][A-Za-z0-9._-]{0,12}$/),
    fc.constantFrom("null", "True", "no", "on", "y"),
  ),
  host: fc.constantFrom("vps.example.org", "203.0.113.7", "2001:db8::1", "::1", "h"),
  udpPort: fc.integer({ min: 1, max: 65535 }),
  serverPublicKey: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  privateKey: fc.option(fc.uint8Array({ minLength: 64, maxLength: 64 }), { nil: undefined }),
  publicKey: fc.uint8Array({ minLength: 32, maxLength: 32 }),
});

Deno.test("readPlainYaml() reads every profile that openme writes, as the library does", () => {
  fc.assert(fc.property(profile, (each) => {
    const text = renderProfileYaml(each);
    const read = readPlainYaml(text);
    assert.ok(read, text);
    assert.deepEqual(read, parseYaml(text));
  }));
});

const SERVER = serverFile() + `
# Jürgen's server
ports:
  ssh: [22/tcp] # the only one
  web:
    # both
    - 80
    - "8080-8090/tcp"
  media: {ports: [8096/tcp, 53], guard: {forward: true}}

clients:
  alice:
    ed25519_pubkey: ${ALICE_PUBLIC}
    allowed_ports: [ssh, 'web', "53/udp"]
    expires: 2027-12-31T18:00:00+02:00
    prefix: {v4: 24, v6: 64}

  bob.laptop-2_x:   # his old one
    ed25519_pubkey: "${ALICE_PUBLIC}"
    allowed_ports:
    - ssh
    disable_health_port: true
    expires:
  "null": {}
`;

Deno.test("readPlainYaml() reads a server's file as people write it, as the library does", () => {
  assert.ok(readPlainYaml(SERVER));
  assert.deepEqual(readPlainYaml(SERVER), parseYaml(SERVER));
});

/** Bits of files: right ones, nearly right ones, and what YAML gives another meaning to. */
const PIECES = [
  ...'profiles:|  home:|  "home":|  "null":|  work: |  null:|  true:|  a.b:|  \'q\':|  &a home:|  1x:'
    .split("|"),
  ..."    server_host: a.example|    server_host: \"b\"|    server_host: 'c'".split("|"),
  ..."    server_udp_port: 54154|    server_udp_port: 0x10|    server_udp_port: 010".split("|"),
  ...'    x: "a\\n"|    x: "a" # c|    x: a # c|    x: a #c|    x: |    x:|    x: [a]|    x: {a: 1}'
    .split("|"),
  ..."    x: null|    x: True|    x: yes|    x: ~|    x: 1e3|    x: .inf|    x: a: b".split("|"),
  ..."    null: a|    true: a|    x: |-|      more|   x: a|     x: a|\tx: a|    x: a\t".split("|"),
  ..."# note|    # note|#|  #|...|---|%YAML 1.2|? a|- a| | |    x: a/b+c=|    x: -|    x: *a"
    .split("|"),
  ...'    <<: a|    x: !!str a|    x: a\r|\u00e9: a|    x: \u00e9|    server_host: ""|other:'
    .split("|"),
  ...'- 22/tcp|  - a # c|    - "b"|      - 1|    -|    - a: 1|  - [a]|    - {a: 1}|  -  a|- - a'
    .split("|"),
  ..."  l:|    l: # c|    l:# c|l: []|  m: {}|    m: {a: [1, {b: c}]}|    l: [a,b]|    l: [a,]|  x: [a"
    .split("|"),
  ...'  l: ["a","b"]|  m: {"a":1}|  m: {a:1}|  m: {a: 1, a: 2}|  l: [a: 1]|  l: [a:1, 2:2]|  l: [a] b'
    .split("|"),
  ..."  x: 192.0.2.1|  x: 2001:db8::1|  x: 1.5|  x: 1.|  x: +1|  x: +.5|  x: +a/b=|  x: 0o7|  x: 1_0"
    .split("|"),
  ..."  x: a:|  x: a:b|  x: 'it''s'|  x: 0|  x: 00|  x: 1e+3|  x: TRUE|  x: tRue|  x: a  |  x:  a"
    .split("|"),
  ..."  y:|      z: 1|  #\u00e9|  # \u2028|  #\ufeff|  x: 9999999999999999|  x: /a|  x: a,b|  y: 'a"
    .split("|"),
];

Deno.test("readPlainYaml() never differs from the library on any mix of lines", () => {
  let read = 0;
  const lines = fc.array(fc.constantFrom(...PIECES), { maxLength: 8 });
  const good = fc.constant(["profiles:", "  home:", "    server_host: a.example"]);
  fc.assert(
    fc.property(fc.oneof(lines, fc.tuple(good, lines).map(([a, b]) => [...a, ...b])), (each) => {
      const text = each.join("\n");
      const quick = readPlainYaml(text);
      if (!quick) return;
      read++;
      assert.deepEqual(quick, parseYaml(text), JSON.stringify(text));
    }),
    { numRuns: 10_000 },
  );
  assert.ok(read > 100, `only ${read} of the files were read at all: the test shows little`);
});

Deno.test("readPlainYaml() never differs from the library when one character is changed", () => {
  const any = fc.constantFrom(..." \t\n\r:\"#'-{}[],&*!|>%@`~?0aA\\\u0000\u00a0\u2028\ufeff");
  const file = fc.oneof(profile.map(renderProfileYaml), fc.constant(SERVER));
  fc.assert(
    fc.property(file, fc.nat(), any, fc.boolean(), (text, at, character, insert) => {
      const place = at % (text.length + 1);
      const changed = text.slice(0, place) + character + text.slice(place + (insert ? 0 : 1));
      const quick = readPlainYaml(changed);
      if (quick) assert.deepEqual(quick, parseYaml(changed), JSON.stringify(changed));
    }),
    { numRuns: 3000 },
  );
});

Deno.test("readPlainYaml() never differs from the library when a line is moved or indented anew", () => {
  const lines = SERVER.split("\n");
  const place = fc.nat({ max: lines.length - 1 });
  fc.assert(
    fc.property(place, place, fc.integer({ min: -4, max: 4 }), (from, to, by) => {
      const moved = lines.toSpliced(from, 1);
      const line = lines[from]!;
      const indent = Math.max(0, line.length - line.trimStart().length + by);
      moved.splice(to, 0, " ".repeat(indent) + line.trimStart());
      const text = moved.join("\n");
      const quick = readPlainYaml(text);
      if (quick) assert.deepEqual(quick, parseYaml(text), text);
    }),
    { numRuns: 3000 },
  );
});
