/** The reader of plain profiles against the YAML library: the values that it returns are the same. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { readPlainProfiles } from "../../lib/config/plain_yaml.ts";
import { type NewProfile, renderProfileYaml } from "../../lib/config/profile_text.ts";
import { parseYaml } from "../../lib/config/yaml.ts";

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

Deno.test("readPlainProfiles() reads every profile that openme writes, as the library does", () => {
  fc.assert(fc.property(profile, (each) => {
    const text = renderProfileYaml(each);
    const read = readPlainProfiles(text);
    assert.ok(read, text);
    assert.deepEqual(read, parseYaml(text));
  }));
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
];

Deno.test("readPlainProfiles() never differs from the library on any mix of lines", () => {
  let read = 0;
  const lines = fc.array(fc.constantFrom(...PIECES), { maxLength: 8 });
  const good = fc.constant(["profiles:", "  home:", "    server_host: a.example"]);
  fc.assert(
    fc.property(fc.oneof(lines, fc.tuple(good, lines).map(([a, b]) => [...a, ...b])), (each) => {
      const text = each.join("\n");
      const quick = readPlainProfiles(text);
      if (!quick) return;
      read++;
      assert.deepEqual(quick, parseYaml(text), JSON.stringify(text));
    }),
    { numRuns: 5000 },
  );
  assert.ok(read > 100, `only ${read} of the files were read at all: the test shows little`);
});

Deno.test("readPlainProfiles() never differs from the library when one character is changed", () => {
  const any = fc.constantFrom(..." \t\n\r:\"#'-{}[],&*!|>%@`~?0aA\\\u0000\u00a0\u2028\ufeff");
  fc.assert(
    fc.property(profile, fc.nat(), any, fc.boolean(), (each, at, character, insert) => {
      const text = renderProfileYaml(each);
      const place = at % (text.length + 1);
      const changed = text.slice(0, place) + character + text.slice(place + (insert ? 0 : 1));
      const quick = readPlainProfiles(changed);
      if (quick) assert.deepEqual(quick, parseYaml(changed), JSON.stringify(changed));
    }),
    { numRuns: 3000 },
  );
});
