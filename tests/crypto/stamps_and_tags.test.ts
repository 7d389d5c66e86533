/** What openme's own client adds to a knock: stamp and tag in the AEAD nonce, the hint in the random nonce. */

import assert from "node:assert/strict";
import { bytesToHex, hexToBytes, knockNonce, stampWindowOf } from "../../lib/crypto/keys.ts";
import { fingerprint, knockStamps, knockTags } from "../../lib/crypto/sync.ts";
import { bearsTag, clientHintOf, hintedNonce, stampOf, unsealKnock } from "../../lib/packet.ts";
import vectors from "../vectors/stamps.json" with { type: "json" };
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

Deno.test("stamps and tags are those of the vectors, for client and server", async () => {
  assert.equal(vectors.cases.length, 8);
  for (const each of vectors.cases) {
    const [server, ephemeral] = [each.server_public_key, each.ephemeral_public_key].map(hexToBytes);
    const window = stampWindowOf(each.unix_seconds);
    assert.equal(window, each.window);
    const nonce = await knockNonce(server!, ephemeral!, each.unix_seconds);
    assert.equal(bytesToHex(nonce), each.aead_nonce);
    const stamp = knockStamps(server!)(window);
    assert.equal(bytesToHex(stamp), each.stamp);
    assert.equal(bytesToHex(knockTags(server!)(stamp, ephemeral!)), each.tag);
  }
});

Deno.test("a stamp is the same for 32 s, and then another", async () => {
  const nonce = (seconds: number) => knockNonce(SERVER_PUBLIC_KEY, filled(2), seconds);
  const stamps = await Promise.all([64, 95.999, 96, 127].map(async (each) =>
    bytesToHex(
      (await nonce(each)).subarray(0, 4),
    )
  ));
  assert.equal(stamps[0], stamps[1]);
  assert.notEqual(stamps[1], stamps[2]);
  assert.equal(stamps[2], stamps[3]);
});

Deno.test("openme's own knock bears stamp, tag and hint, no two are alike, and the gate takes it", async () => {
  const [first, second] = await Promise.all([
    freshKnock(ALICE_PROFILE),
    freshKnock(ALICE_PROFILE),
  ]);
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  for (const datagram of [first!, second!]) {
    assert.ok(bearsTag(datagram, tags));
    const windows = [-1, 0].map((ago) => stampWindowOf(Date.now() / 1000) + ago);
    const stamps = windows.map(knockStamps(SERVER_PUBLIC_KEY)).map(bytesToHex);
    assert.ok(stamps.includes(bytesToHex(stampOf(datagram))));
    const unsealed = unsealKnock(datagram, agreeAsServer);
    assert.ok(typeof unsealed === "object");
    const hint = clientHintOf(unsealed.randomNonce).toString(16).padStart(8, "0");
    assert.equal(hint, fingerprint(hexToBytes(ALICE.key)).slice(0, 8));
    assert.equal(outcome(datagram, freshRules(), { nowNs }), "grant");
  }
  for (const [from, to] of [[1, 33], [37, 45], [45, 101]]) {
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
  // It covers stamp and ephemeral key alone: what follows is for the AEAD and the signature.
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
