/** What openme's own client adds to a knock: the tag in the AEAD nonce, the hint in the random nonce. */

import assert from "node:assert/strict";
import { createHmac, hkdfSync } from "node:crypto";
import { hexToBytes, knockTag } from "../../lib/crypto/keys.ts";
import { fingerprint, knockTags } from "../../lib/crypto/sync.ts";
import { bearsTag, clientHintOf, hintedNonce, unsealKnock } from "../../lib/packet.ts";
import {
  agreeAsServer,
  ALICE,
  ALICE_PROFILE,
  filled,
  flipBit,
  freshKnock,
  freshRules,
  knockBy,
  outcome,
  SERVER_PUBLIC_KEY,
} from "../support/knocks.ts";

const tags = knockTags(SERVER_PUBLIC_KEY);

Deno.test("knockTag() and knockTags() are what node:crypto makes of HKDF and HMAC", async () => {
  const key = hkdfSync("sha256", SERVER_PUBLIC_KEY, new Uint8Array(0), "openme-v1-knock-tag", 32);
  for (let i = 0; i < 20; i++) {
    const ephemeral = crypto.getRandomValues(new Uint8Array(32));
    const expected = createHmac("sha256", new Uint8Array(key)).update(ephemeral).digest();
    assert.deepEqual([...tags(ephemeral)], [...expected.subarray(0, 12)]);
    assert.deepEqual(await knockTag(SERVER_PUBLIC_KEY, ephemeral), tags(ephemeral));
  }
});

Deno.test("knockTags() has not changed since it was first deployed", () => {
  // Fixed bytes: a client of one version and a server of another must agree.
  assert.equal(
    Array.from(knockTags(filled(1))(filled(2)), (byte) => byte.toString(16).padStart(2, "0")).join(
      "",
    ),
    "edc1905f6c624e4927210ab5",
  );
});

Deno.test("openme's own knock bears tag and hint, no two are alike, and the gate takes it", async () => {
  const [first, second] = await Promise.all([
    freshKnock(ALICE_PROFILE),
    freshKnock(ALICE_PROFILE),
  ]);
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  for (const datagram of [first!, second!]) {
    assert.ok(bearsTag(datagram, tags));
    const unsealed = unsealKnock(datagram, agreeAsServer);
    assert.ok(typeof unsealed === "object");
    const hint = clientHintOf(unsealed.knock.randomNonce).toString(16).padStart(8, "0");
    assert.equal(hint, fingerprint(hexToBytes(ALICE.key)).slice(0, 8));
    assert.equal(outcome(datagram, freshRules(), { nowNs }), "grant");
  }
  for (const [from, to] of [[1, 33], [33, 45], [45, 101]]) {
    assert.notDeepEqual(first!.subarray(from, to), second!.subarray(from, to));
  }
});

Deno.test("bearsTag() is false for other clients' knocks, other servers' and every flipped bit", async () => {
  const good = await freshKnock(ALICE_PROFILE);
  assert.ok(!bearsTag(await knockBy(ALICE), tags));
  assert.ok(!bearsTag(good, knockTags(filled(9))));
  for (let bit = 8; bit < 8 * 45; bit++) {
    assert.ok(!bearsTag(flipBit(good, bit), tags), `bit ${bit}`);
  }
  // It covers the ephemeral key alone: what follows is for the AEAD and the signature.
  assert.ok(bearsTag(flipBit(good, 8 * 45), tags));
});

Deno.test("a knock without tag and hint, as other clients send it, is as good", async () => {
  assert.equal(outcome(await knockBy(ALICE), freshRules()), "grant");
});

Deno.test("hintedNonce() keeps 96 random bits and refuses any other length", async () => {
  const random = crypto.getRandomValues(new Uint8Array(12));
  const nonce = await hintedNonce(random, filled(3));
  assert.equal(nonce.length, 16);
  assert.deepEqual(nonce.subarray(0, 12), random);
  for (const size of [0, 11, 13, 16]) {
    await assert.rejects(hintedNonce(new Uint8Array(size), filled(3)), RangeError);
  }
});
