/**
 * The primitives against what their RFCs publish, and against noble's curves, which share no code with WebCrypto or
 * `node:crypto`. Project Wycheproof's vectors are in `wycheproof.test.ts`.
 */

import assert from "node:assert/strict";
import { hkdfSync } from "node:crypto";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import {
  aeadOpen,
  aeadSeal,
  agree,
  bytesToHex,
  concatBytes,
  deriveAeadKey,
  hexToBytes,
  isLowOrder,
  keyPairOf,
  sign,
} from "../../lib/crypto/keys.ts";
import {
  keyAgreement,
  publicKeyOf,
  sharedSecret,
  signatureVerifier,
} from "../../lib/crypto/sync.ts";
import { anyBytes, filled, flipBit, littleEndian, must } from "../support/knocks.ts";

const ascii = new TextEncoder();

Deno.test("X25519: RFC 7748 section 5.2", async () => {
  const rows = [
    {
      scalar: "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
      u: "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
      expected: "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    },
    {
      scalar: "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
      u: "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
      expected: "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    },
  ];
  for (const { scalar, u, expected } of rows) {
    const [privateKey, peer] = [hexToBytes(scalar), hexToBytes(u)];
    assert.equal(bytesToHex(await agree(privateKey, peer)), expected);
    assert.equal(bytesToHex(must(sharedSecret(privateKey)(peer))), expected);
  }
});

Deno.test("X25519: RFC 7748 section 5.2, 1,000 times over", () => {
  let [k, u] = [hexToBytes("09" + "00".repeat(31)), hexToBytes("09" + "00".repeat(31))];
  for (let round = 1; round <= 1000; round++) {
    [k, u] = [Uint8Array.from(must(sharedSecret(k)(u))), k];
    if (round === 1) {
      const once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
      assert.equal(bytesToHex(k), once);
    }
  }
  const thousandTimes = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
  assert.equal(bytesToHex(k), thousandTimes);
});

Deno.test("X25519: RFC 7748 section 6.1, both ends in both libraries", async () => {
  const alice = hexToBytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  const bob = hexToBytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  const alicePublic = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
  const bobPublic = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
  const secret = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
  assert.equal(bytesToHex((await keyPairOf("X25519", alice)).publicKey), alicePublic);
  assert.equal(bytesToHex(publicKeyOf("X25519", bob)), bobPublic);
  assert.equal(bytesToHex(await agree(alice, hexToBytes(bobPublic))), secret);
  assert.equal(bytesToHex(must(sharedSecret(bob)(hexToBytes(alicePublic)))), secret);
});

const RFC_8032_ROWS = [
  {
    test: "TEST 1",
    seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    message: "",
    signature: "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555f" +
      "b8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  },
  {
    test: "TEST 2",
    seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    message: "72",
    signature: "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da08" +
      "5ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  },
  {
    test: "TEST 3",
    seed: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    publicKey: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    message: "af82",
    signature: "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18" +
      "ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  },
];

for (const row of RFC_8032_ROWS) {
  Deno.test(`Ed25519: RFC 8032 section 7.1, ${row.test}`, async () => {
    const [seed, message] = [hexToBytes(row.seed), hexToBytes(row.message)];
    const [publicKey, signature] = [hexToBytes(row.publicKey), hexToBytes(row.signature)];
    assert.deepEqual((await keyPairOf("Ed25519", seed)).publicKey, publicKey);
    assert.deepEqual(publicKeyOf("Ed25519", seed), publicKey);
    assert.deepEqual(await sign(seed, message), signature);
    const verify = signatureVerifier(publicKey);
    assert.equal(verify(message, signature), true);
    assert.equal(verify(concatBytes(message, filled(0, 1)), signature), false);
    assert.equal(verify(message, flipBit(signature, 0)), false);
    assert.equal(verify(message, flipBit(signature, 300)), false);
  });
}

Deno.test("ChaCha20-Poly1305: the ciphertexts of RFC 8439 sections 2.4.2 and 2.8.2", () => {
  const plaintext = ascii.encode(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the " +
      "future, sunscreen would be it.",
  );
  const rows = [
    {
      // ChaCha20 alone, from block 1: where the AEAD starts its ciphertext too.
      key: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      nonce: "000000000000004a00000000",
      expected: "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b" +
        "f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8" +
        "07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736" +
        "5af90bbf74a35be6b40b8eedf2785e42874d",
    },
    {
      // The associated data there changes the tag alone.
      key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
      nonce: "070000004041424344454647",
      expected: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6" +
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36" +
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc" +
        "3ff4def08e4b7a9de576d26586cec64b6116",
    },
  ];
  for (const row of rows) {
    const [key, nonce] = [hexToBytes(row.key), hexToBytes(row.nonce)];
    const sealed = aeadSeal(key, nonce, plaintext);
    assert.equal(bytesToHex(sealed.subarray(0, -16)), row.expected);
    assert.deepEqual(aeadOpen(key, nonce, sealed), plaintext);
  }
});

Deno.test("aeadOpen() refuses any flipped bit, a wrong key, a wrong nonce and a cut", () => {
  const [key, nonce, plaintext] = [filled(1), filled(2, 12), filled(3, 40)];
  const sealed = aeadSeal(key, nonce, plaintext);
  assert.equal(sealed.length, 56);
  assert.deepEqual(aeadOpen(key, nonce, sealed), plaintext);
  for (let bit = 0; bit < 8 * sealed.length; bit++) {
    assert.equal(aeadOpen(key, nonce, flipBit(sealed, bit)), undefined, `bit ${bit}`);
  }
  assert.equal(aeadOpen(flipBit(key, 0), nonce, sealed), undefined);
  assert.equal(aeadOpen(key, flipBit(nonce, 95), sealed), undefined);
  for (let size = 0; size < sealed.length; size++) {
    assert.equal(aeadOpen(key, nonce, sealed.subarray(0, size)), undefined, `${size} bytes`);
  }
});

Deno.test("HKDF-SHA256: RFC 5869 appendix A.1 to A.3, in noble and in node:crypto", () => {
  const counting = (from: number) =>
    bytesToHex(Uint8Array.from({ length: 80 }, (_, i) => from + i));
  const rows = [
    {
      secret: "0b".repeat(22),
      salt: "000102030405060708090a0b0c",
      info: "f0f1f2f3f4f5f6f7f8f9",
      expected: "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b8" +
        "87185865",
    },
    {
      secret: counting(0),
      salt: counting(0x60),
      info: counting(0xb0),
      expected: "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7" +
        "827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    },
    {
      secret: "0b".repeat(22),
      salt: "",
      info: "",
      expected: "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4" +
        "b61a96c8",
    },
  ];
  for (const row of rows) {
    const [secret, salt, info] = [row.secret, row.salt, row.info].map(hexToBytes);
    assert.ok(secret && salt && info);
    const size = row.expected.length / 2;
    assert.equal(bytesToHex(hkdf(sha256, secret, salt, info, size)), row.expected);
    const byNode = new Uint8Array(hkdfSync("sha256", secret, salt, info, size));
    assert.equal(bytesToHex(byNode), row.expected);
  }
});

Deno.test("keyAgreement() and deriveAeadKey() are node:crypto's HKDF without salt, for openme's info", async () => {
  const info = ascii.encode("openme-v1-chacha20poly1305");
  await fc.assert(fc.asyncProperty(anyBytes(32), async (peer) => {
    const secret = Uint8Array.from(must(sharedSecret(filled(0x77))(peer)));
    const byNode = new Uint8Array(hkdfSync("sha256", secret, new Uint8Array(0), info, 32));
    assert.deepEqual(await deriveAeadKey(secret), byNode);
    assert.deepEqual(keyAgreement(filled(0x77))(peer), byNode);
  }));
});

Deno.test("X25519: noble, node:crypto and WebCrypto agree on keys and secrets", async () => {
  await fc.assert(
    fc.asyncProperty(anyBytes(32), anyBytes(32), async (privateKey, peer) => {
      const publicKey = x25519.getPublicKey(privateKey);
      assert.deepEqual(publicKeyOf("X25519", privateKey), publicKey);
      assert.deepEqual((await keyPairOf("X25519", privateKey)).publicKey, publicKey);
      const secret = x25519.getSharedSecret(privateKey, peer);
      assert.deepEqual(Uint8Array.from(must(sharedSecret(privateKey)(peer))), secret);
      assert.deepEqual(await agree(privateKey, peer), secret);
    }),
    { numRuns: 60 },
  );
});

Deno.test("X25519: peers' keys of low order have no secret", async () => {
  const p = 2n ** 255n - 19n;
  const order8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
  const otherOrder8 = "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157";
  const canonical = [...[0n, 1n, p - 1n, p, p + 1n].map(littleEndian), order8, otherOrder8];
  const ignoredTopBit = canonical.map((hex) => bytesToHex(flipBit(hexToBytes(hex), 255)));
  for (const hex of [...canonical, ...ignoredTopBit]) {
    assert.equal(sharedSecret(filled(0x77))(hexToBytes(hex)), undefined, hex);
    assert.equal(keyAgreement(filled(0x77))(hexToBytes(hex)), undefined, hex);
    assert.ok(isLowOrder(hexToBytes(hex)), hex);
    await assert.rejects(() => agree(filled(0x77), hexToBytes(hex)), hex);
  }
});

Deno.test("sharedSecret() has no secret for a key of another length", () => {
  for (const size of [0, 1, 31, 33, 64]) {
    assert.equal(sharedSecret(filled(0x77))(filled(9, size)), undefined, `${size} bytes`);
  }
});

Deno.test("private keys of another length are refused", async () => {
  for (const size of [0, 31, 33, 64]) {
    for (const curve of ["X25519", "Ed25519"] as const) {
      assert.throws(() => publicKeyOf(curve, filled(1, size)), RangeError);
      await assert.rejects(() => keyPairOf(curve, filled(1, size)), RangeError);
    }
  }
});

Deno.test("Ed25519: noble signs and verifies what node:crypto and WebCrypto do", async () => {
  const scenario = [anyBytes(32), fc.uint8Array({ maxLength: 200 }), fc.nat(511)] as const;
  await fc.assert(
    fc.asyncProperty(...scenario, async (seed, text, bit) => {
      const message = Uint8Array.from(text);
      const publicKey = ed25519.getPublicKey(seed);
      assert.deepEqual(publicKeyOf("Ed25519", seed), publicKey);
      const signature = await sign(seed, message);
      assert.deepEqual(signature, ed25519.sign(message, seed));
      const verify = signatureVerifier(publicKey);
      assert.equal(verify(message, signature), true);
      assert.equal(verify(message, flipBit(signature, bit)), false);
    }),
    { numRuns: 40 },
  );
});

Deno.test("signatureVerifier() accepts exactly the keys that noble finds on the curve", () => {
  fc.assert(
    fc.property(anyBytes(32), (publicKey) => {
      let isPoint = true;
      try {
        ed25519.Point.fromBytes(publicKey);
      } catch {
        isPoint = false;
      }
      if (isPoint) signatureVerifier(publicKey);
      else assert.throws(() => signatureVerifier(publicKey), RangeError);
    }),
    { numRuns: 200 },
  );
});
