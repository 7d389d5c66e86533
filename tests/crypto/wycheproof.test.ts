/**
 * The primitives against Project Wycheproof's vectors (C2SP, Apache-2.0), reduced to the numbers that are used here.
 * HKDF's cannot be fed through `deriveAeadKey()`, whose info is fixed.
 */

import assert from "node:assert/strict";
import {
  aeadOpen,
  aeadSeal,
  agree,
  bytesToHex,
  concatBytes,
  hexToBytes,
  isLowOrder,
} from "../../lib/crypto/keys.ts";
import { sharedSecret, signatureVerifier } from "../../lib/crypto/sync.ts";
import { must } from "../support/knocks.ts";

/** The cases of one file, each with the number that Wycheproof gives it. */
async function casesOf<Case>(name: string): Promise<readonly (Case & { readonly tcId: number })[]> {
  const url = new URL(`../vectors/wycheproof/${name}.json`, import.meta.url);
  return JSON.parse(await Deno.readTextFile(url)).cases;
}

type Result = "valid" | "invalid";

Deno.test("Wycheproof: X25519 in node:crypto and in WebCrypto", async () => {
  const cases = await casesOf<{ public: string; private: string; shared: string }>("x25519");
  assert.equal(cases.length, 518);
  for (const { tcId, public: peerHex, private: privateHex, shared } of cases) {
    const [privateKey, peer] = [hexToBytes(privateHex), hexToBytes(peerHex)];
    const secret = sharedSecret(privateKey)(peer);
    assert.equal(isLowOrder(peer), secret === undefined, `case ${tcId}`);
    // Flagged "acceptable" with the secret all zero: to openme such a key is of low order, and refused.
    if (/^0+$/.test(shared)) {
      assert.equal(secret, undefined, `case ${tcId}`);
      await assert.rejects(() => agree(privateKey, peer), `case ${tcId}`);
    } else {
      assert.equal(bytesToHex(must(secret)), shared, `case ${tcId}`);
      assert.equal(bytesToHex(await agree(privateKey, peer)), shared, `case ${tcId}`);
    }
  }
});

Deno.test("Wycheproof: Ed25519 signatures", async () => {
  const cases = await casesOf<
    { comment: string; publicKey: string; msg: string; sig: string; result: Result }
  >("ed25519");
  assert.equal(cases.length, 151);
  for (const { tcId, comment, publicKey, msg, sig, result } of cases) {
    const verify = signatureVerifier(hexToBytes(publicKey));
    const found = verify(hexToBytes(msg), hexToBytes(sig)) ? "valid" : "invalid";
    assert.equal(found, result, `case ${tcId}: ${comment}`);
  }
});

Deno.test("Wycheproof: ChaCha20-Poly1305 without associated data", async () => {
  const cases = await casesOf<
    { key: string; iv: string; aad: string; msg: string; ct: string; tag: string; result: Result }
  >("chacha20_poly1305");
  assert.equal(cases.filter(({ aad, result }) => aad === "" && result === "valid").length, 45);
  for (const { tcId, key: keyHex, iv, aad, msg, ct, tag, result } of cases) {
    const [key, nonce, plaintext] = [hexToBytes(keyHex), hexToBytes(iv), hexToBytes(msg)];
    const opened = aeadOpen(key, nonce, concatBytes(hexToBytes(ct), hexToBytes(tag)));
    // What was authenticated with associated data is not what was sealed without.
    const expected = result === "valid" && aad === "" ? plaintext : undefined;
    assert.deepEqual(opened, expected, `case ${tcId}`);
    if (result === "valid") {
      const sealed = bytesToHex(aeadSeal(key, nonce, plaintext));
      assert.equal(sealed.slice(0, -32), ct, `case ${tcId}`);
      assert.equal(sealed.slice(-32) === tag, aad === "", `case ${tcId}`);
    }
  }
});
