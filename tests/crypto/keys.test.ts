/** Keys and their spellings: base64, hex, fingerprints, and what is unfit as a signing key. */

import assert from "node:assert/strict";
import { ED25519_TORSION_SUBGROUP as TORSION_SUBGROUP } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import {
  bytesToHex,
  decodeBase64,
  encodeBase64,
  hexToBytes,
  signingKeyFlaw,
} from "../../lib/crypto/keys.ts";
import { fingerprint, publicKeyOf } from "../../lib/crypto/sync.ts";
import { anyBytes, littleEndian } from "../support/knocks.ts";

const ascii = new TextEncoder();

Deno.test("fingerprint() is the first 8 bytes of SHA-256 in lower-case hex", () => {
  assert.equal(fingerprint(ascii.encode("abc")), "ba7816bf8f01cfea"); // FIPS 180-2 appendix B.1
  assert.equal(fingerprint(new Uint8Array(0)), "e3b0c44298fc1c14");
});

Deno.test("signingKeyFlaw() finds every encoding of every point of small order", () => {
  const p = 2n ** 255n - 19n;
  assert.equal(TORSION_SUBGROUP.length, 8);
  const encodings = new Set(TORSION_SUBGROUP.flatMap((hex) => {
    const y = fromLittleEndian(hex) & (2n ** 255n - 1n);
    const ys = y + p < 2n ** 255n ? [y, y + p] : [y];
    // Either sign: where x = 0 the one with the sign set is not canonical, elsewhere it is the negative point.
    return ys.flatMap((each) => [littleEndian(each), littleEndian(each + 2n ** 255n)]);
  }));
  assert.equal(encodings.size, 14); // 5 canonical y, two of them below 19; two signs
  for (const hex of encodings) assert.equal(signingKeyFlaw(hexToBytes(hex)), "small order", hex);
});

Deno.test("signingKeyFlaw() finds every y that is not below p", () => {
  const p = 2n ** 255n - 19n;
  for (let y = p; y < 2n ** 255n; y++) {
    for (const sign of [0n, 2n ** 255n]) {
      const expected = y - p < 2n ? "small order" : "not canonical";
      assert.equal(signingKeyFlaw(hexToBytes(littleEndian(y + sign))), expected, `p + ${y - p}`);
    }
  }
  assert.equal(signingKeyFlaw(hexToBytes(littleEndian(p - 2n))), undefined);
});

Deno.test("signingKeyFlaw() finds nothing wrong with the keys of random seeds", () => {
  fc.assert(fc.property(anyBytes(32), (seed) => {
    assert.equal(signingKeyFlaw(publicKeyOf("Ed25519", seed)), undefined);
  }));
});

Deno.test("base64: RFC 4648 section 10", () => {
  const rows = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
  for (const [size, text] of rows.entries()) {
    const bytes = ascii.encode("foobar".slice(0, size));
    assert.equal(encodeBase64(bytes), text);
    assert.deepEqual(decodeBase64(text), bytes);
  }
});

Deno.test("decodeBase64() refuses all but what encodeBase64() writes", () => {
  const rows = [
    { text: "Zg", why: "no padding" },
    { text: "Zg=", why: "half the padding" },
    { text: "Zg===", why: "too much padding" },
    { text: "Zh==", why: "bits behind the end" },
    { text: "Zm9v\n", why: "line break" },
    { text: " Zm9v", why: "space" },
    { text: "Zm 9v", why: "space inside, which atob() skips" },
    { text: "__-_", why: "the URL alphabet" },
    { text: "Zm9v=", why: "padding where none belongs" },
    { text: "Zg==Zg==", why: "two texts" },
    { text: "Zm9\u00e9", why: "not ASCII" },
    { text: "Z", why: "six bits" },
  ];
  for (const { text, why } of rows) assert.equal(decodeBase64(text), undefined, why);
});

Deno.test("base64 and hex: decoding inverts encoding", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
    assert.deepEqual(decodeBase64(encodeBase64(bytes)), Uint8Array.from(bytes));
    assert.deepEqual(hexToBytes(bytesToHex(bytes)), Uint8Array.from(bytes));
  }));
});

Deno.test("hexToBytes() throws for what is not pairs of hex digits", () => {
  for (const text of ["0", "000", "0g", " 00", "00\n", "0x00"]) {
    assert.throws(() => hexToBytes(text), RangeError, text);
  }
});

function fromLittleEndian(hex: string): bigint {
  return BigInt("0x" + bytesToHex(hexToBytes(hex).reverse()));
}
