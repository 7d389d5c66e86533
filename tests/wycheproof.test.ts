/**
 * The primitives against Project Wycheproof's vectors (C2SP). They lie beside the checkout, in ../shared, and not in
 * it; where they are absent these tests say that they were skipped, and with `OPENME_E2E=require` they fail. HKDF's cannot be fed through `deriveAeadKey()`,
 * whose info is fixed.
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
} from "../lib/crypto.ts";
import { sharedSecret, signatureVerifier } from "../lib/crypto_sync.ts";
import { must } from "./support.ts";

const FOLDER = new URL("../../shared/vectors/wycheproof/", import.meta.url);

interface TestFile<Group, Case> {
  readonly testGroups: readonly (Group & { readonly tests: readonly (Case & Outcome)[] })[];
}

interface Outcome {
  readonly tcId: number;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly result: "valid" | "invalid" | "acceptable";
}

const required = Deno.env.get("OPENME_E2E") === "require";

/** One test over all cases of a file, ignored (and saying why) where the file is absent, unless it must be there. */
function testWithVectors<Group, Case>(
  title: string,
  file: string,
  run: (groups: TestFile<Group, Case>["testGroups"]) => void | Promise<void>,
): void {
  let text: string | undefined;
  try {
    text = Deno.readTextFileSync(new URL(file, FOLDER));
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
  }
  if (text === undefined) {
    const why = `no ../shared/vectors/wycheproof/${file}`;
    const name = `Wycheproof: ${title} (skipped: ${why})`;
    Deno.test({
      name,
      ignore: !required,
      fn: () => assert.fail(`OPENME_E2E=require, but there is ${why}`),
    });
    return;
  }
  const { testGroups }: TestFile<Group, Case> = JSON.parse(text);
  Deno.test(`Wycheproof: ${title}`, () => run(testGroups));
}

testWithVectors<unknown, { public: string; private: string; shared: string }>(
  "X25519 in node:crypto and in WebCrypto",
  "x25519_test.json",
  async (groups) => {
    const cases = groups.flatMap(({ tests }) => tests);
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
  },
);

testWithVectors<{ publicKey: { pk: string } }, { msg: string; sig: string }>(
  "Ed25519 signatures",
  "ed25519_test.json",
  (groups) => {
    let count = 0;
    for (const { publicKey, tests } of groups) {
      const verify = signatureVerifier(hexToBytes(publicKey.pk));
      for (const { tcId, msg, sig, result, comment } of tests) {
        const found = verify(hexToBytes(msg), hexToBytes(sig)) ? "valid" : "invalid";
        assert.equal(found, result, `case ${tcId}: ${comment}`);
        count++;
      }
    }
    assert.equal(count, 151);
  },
);

testWithVectors<
  { ivSize: number },
  { key: string; iv: string; aad: string; msg: string; ct: string; tag: string }
>(
  "ChaCha20-Poly1305 without associated data",
  "chacha20_poly1305_test.json",
  (groups) => {
    const cases = groups.filter(({ ivSize }) => ivSize === 96).flatMap(({ tests }) => tests);
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
  },
);
