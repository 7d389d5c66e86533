/** The gate against hostile bytes: total over all byte strings, and only the whole good knock passes. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { concatBytes } from "../lib/crypto/keys.ts";
import {
  address,
  ALICE,
  anyAddress,
  anyBytes,
  anyInt64,
  filled,
  flipBit,
  freshRules,
  knockBy,
  MALLORY,
  memoryOf,
  outcome,
} from "./support/knocks.ts";

Deno.test("judge() drops every single bit flip of a good knock, and burns nothing", async () => {
  const good = await knockBy(ALICE, { target: address("203.0.113.9") });
  const rules = freshRules();
  for (let bit = 0; bit < 8 * good.length; bit++) {
    const byte = bit >> 3;
    // X25519 ignores the key's top bit; the signature does not.
    const expected = bit === 8 * 32 + 7 || byte >= 101
      ? "signature"
      : byte === 0
      ? "version"
      : "decrypt";
    assert.equal(outcome(flipBit(good, bit), rules), expected, `bit ${bit}`);
  }
  assert.deepEqual(memoryOf(rules).entries, []);
  assert.equal(outcome(good, rules), "grant");
});

Deno.test("judge() drops every truncation and every extension", async () => {
  const good = await knockBy(ALICE);
  const rules = freshRules();
  for (let size = 0; size < good.length; size++) {
    assert.equal(outcome(good.subarray(0, size), rules), "size", `first ${size} bytes`);
    assert.equal(outcome(good.subarray(good.length - size), rules), "size", `last ${size} bytes`);
  }
  for (const extra of [1, 2, 8, 35, 165, 1335, 65_342]) {
    assert.equal(outcome(concatBytes(good, filled(0, extra)), rules), "size", `${extra} more`);
    assert.equal(outcome(concatBytes(filled(1, extra), good), rules), "size", `${extra} before`);
  }
  assert.equal(outcome(good, rules), "grant");
});

Deno.test("judge() drops random bytes of any length and never throws", () => {
  const rules = freshRules();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), anyAddress, anyInt64, (bytes, source, nowNs) => {
      const expected = bytes.length === 165 ? /^(version|key_agreement|decrypt)$/ : /^size$/;
      assert.match(outcome(bytes, rules, { source, nowNs }), expected);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("judge() drops random bytes of the right length and version", () => {
  const rules = freshRules();
  fc.assert(
    fc.property(anyBytes(164), (rest) => {
      const datagram = concatBytes(Uint8Array.of(1), rest);
      assert.match(outcome(datagram, rules), /^(key_agreement|decrypt)$/);
    }),
    { numRuns: 500 },
  );
});

Deno.test("judge() drops everything that a stranger seals to the server's key", async () => {
  const rules = freshRules();
  const knocks = fc.record({
    timestampNs: anyInt64,
    randomNonce: anyBytes(16),
    target: anyAddress,
  });
  await fc.assert(
    fc.asyncProperty(knocks, async (knock) => {
      assert.equal(outcome(await knockBy(MALLORY, knock), rules), "signature");
    }),
    { numRuns: 40 },
  );
  assert.deepEqual(memoryOf(rules).entries, []);
});
