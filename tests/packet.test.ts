/** The wire format of a knock: sizes and offsets, seal and unseal. Whether a knock is wanted is in `gate.test.ts`. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Address, addressToBytes16, isUnspecified } from "../lib/values/address.ts";
import { bytesToHex, concatBytes, hexToBytes, keyPairOf, sign } from "../lib/crypto/keys.ts";
import { keyAgreement, publicKeyOf, signatureVerifier } from "../lib/crypto/sync.ts";
import * as packet from "../lib/packet.ts";
import { type Knock, sealKnock, splitSignature, unsealKnock } from "../lib/packet.ts";
import {
  address,
  agreeAsServer,
  ALICE,
  anyAddress,
  anyBytes,
  anyInt64,
  filled,
  flipBit,
  knockBy,
  must,
  NOW_NS,
} from "./support/knocks.ts";

/** The knock inside a datagram that the server above can certainly read. */
function unsealed(datagram: Uint8Array): Knock {
  const result = unsealKnock(datagram, agreeAsServer);
  assert.ok(typeof result !== "string", `expected a knock, got ${result}`);
  return result;
}

Deno.test("the layout is the protocol's", () => {
  const found = {
    version: packet.VERSION,
    timestampSize: packet.TIMESTAMP_SIZE,
    randomNonceSize: packet.RANDOM_NONCE_SIZE,
    targetSize: packet.TARGET_SIZE,
    plaintextSize: packet.PLAINTEXT_SIZE,
    ephemeralKeyAt: packet.OFFSET_EPHEMERAL_KEY,
    aeadNonceAt: packet.OFFSET_AEAD_NONCE,
    sealedAt: packet.OFFSET_SEALED,
    signatureAt: packet.OFFSET_SIGNATURE,
    packetSize: packet.PACKET_SIZE,
  };
  assert.deepEqual(found, {
    version: 1,
    timestampSize: 8,
    randomNonceSize: 16,
    targetSize: 16,
    plaintextSize: 40,
    ephemeralKeyAt: 1,
    aeadNonceAt: 33,
    sealedAt: 45,
    signatureAt: 101,
    packetSize: 165,
  });
});

Deno.test("unsealKnock() inverts sealKnock()", async () => {
  const anyTarget = fc.option(anyAddress, { nil: undefined });
  const keys = fc.record({
    server: anyBytes(32),
    seed: anyBytes(32),
    ephemeral: anyBytes(32),
    aeadNonce: anyBytes(12),
  });
  const knocks = fc.record({ timestampNs: anyInt64, randomNonce: anyBytes(16), target: anyTarget });
  await fc.assert(
    fc.asyncProperty(keys, knocks, async ({ server, seed, ephemeral, aeadNonce }, knock) => {
      const datagram = await sealKnock(knock, {
        serverPublicKey: publicKeyOf("X25519", server),
        clientSeed: seed,
        ephemeral: await keyPairOf("X25519", ephemeral),
        aeadNonce,
      });
      assert.equal(datagram.length, 165);
      const result = unsealKnock(datagram, keyAgreement(server));
      assert.ok(typeof result !== "string", `expected a knock, got ${result}`);
      const target = knock.target && isUnspecified(knock.target) ? undefined : knock.target;
      assert.deepEqual(result, { ...knock, target });
      const [signedBytes, signature] = splitSignature(datagram);
      assert.deepEqual(concatBytes(signedBytes, signature), datagram);
      assert.equal(signedBytes.length, 101);
      assert.ok(signatureVerifier(publicKeyOf("Ed25519", seed))(signedBytes, signature));
    }),
    { numRuns: 80 },
  );
});

Deno.test("unsealKnock() reads the ends of int64", async () => {
  const rows = [0n, 1n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -(2n ** 53n) - 1n];
  for (const timestampNs of rows) {
    assert.equal(unsealed(await knockBy(ALICE, { timestampNs })).timestampNs, timestampNs);
  }
});

Deno.test("unsealKnock() reads either unspecified address as the wildcard, and none else", async () => {
  const rows: { target: Address | undefined; expected: Address | undefined }[] = [
    { target: undefined, expected: undefined },
    { target: address("::"), expected: undefined },
    { target: address("0.0.0.0"), expected: undefined },
    { target: address("0.0.0.1"), expected: address("0.0.0.1") },
    { target: address("::1"), expected: address("::1") },
    { target: address("::ffff:203.0.113.9"), expected: address("203.0.113.9") },
    { target: address("::ffff:0:0:1"), expected: address("::ffff:0:0:1") },
  ];
  for (const { target, expected } of rows) {
    assert.deepEqual(unsealed(await knockBy(ALICE, { target })).target, expected);
  }
});

Deno.test("sealKnock() writes the fields in the order and byte order of the protocol", async () => {
  const datagram = await knockBy(ALICE);
  const ephemeral = publicKeyOf("X25519", filled(0xe5));
  const head = "01" + bytesToHex(ephemeral) + "ae".repeat(12);
  assert.equal(bytesToHex(datagram.subarray(0, 45)), head);
  const target = address("203.0.113.9");
  const timestampNs = 0x0102030405060708n;
  const [v4, wildcard] = [
    await knockBy(ALICE, { timestampNs, target }),
    await knockBy(ALICE, { timestampNs: 0n, randomNonce: filled(0, 16) }),
  ];
  // Same keys, same nonce: the keystreams cancel out, what is left is the difference of the plaintexts.
  const difference = v4.slice(45, 85).map((byte, i) => byte ^ must(wildcard[45 + i]));
  const expected = "0102030405060708" + "70".repeat(16) + bytesToHex(addressToBytes16(target));
  assert.equal(bytesToHex(difference), expected);
});

Deno.test("sealKnock() is determined by what it is given", async () => {
  assert.deepEqual(await knockBy(ALICE), await knockBy(ALICE));
});

Deno.test("sealKnock() throws for what is not a knock", async () => {
  const rows: { knock: Partial<Knock>; why: string }[] = [
    { knock: { timestampNs: 2n ** 63n }, why: "above int64" },
    { knock: { timestampNs: -(2n ** 63n) - 1n }, why: "below int64" },
    { knock: { randomNonce: filled(1, 15) }, why: "short nonce" },
    { knock: { randomNonce: filled(1, 17) }, why: "long nonce" },
    { knock: { randomNonce: filled(1, 0) }, why: "no nonce" },
  ];
  for (const { knock, why } of rows) {
    await assert.rejects(() => knockBy(ALICE, knock), RangeError, why);
  }
});

Deno.test("sealKnock() refuses a server's key of low order", async () => {
  const ephemeral = await keyPairOf("X25519", filled(0xe5));
  const knock = { timestampNs: NOW_NS, randomNonce: filled(0x70, 16), target: undefined };
  for (const hex of ["00".repeat(32), "01" + "00".repeat(31), "ec" + "ff".repeat(30) + "7f"]) {
    await assert.rejects(() =>
      sealKnock(knock, {
        serverPublicKey: hexToBytes(hex),
        clientSeed: ALICE.seed,
        ephemeral,
        aeadNonce: filled(0xae, 12),
      }), hex);
  }
});

Deno.test("unsealKnock() names the first check that fails", async () => {
  const good = await knockBy(ALICE);
  const lowOrder = concatBytes(Uint8Array.of(1), filled(0), good.subarray(33));
  const rows = [
    { datagram: good.subarray(0, 164), expected: "size" },
    { datagram: concatBytes(good, Uint8Array.of(0)), expected: "size" },
    { datagram: flipBit(good, 0).subarray(1), expected: "size" },
    { datagram: flipBit(good, 0), expected: "version" },
    { datagram: flipBit(lowOrder, 1), expected: "version" },
    { datagram: lowOrder, expected: "key_agreement" },
    { datagram: flipBit(lowOrder, 8 * 45), expected: "key_agreement" },
    { datagram: flipBit(good, 8 * 45), expected: "decrypt" },
    { datagram: flipBit(good, 8 * 100), expected: "decrypt" },
  ];
  for (const { datagram, expected } of rows) {
    assert.equal(unsealKnock(datagram, agreeAsServer), expected);
  }
  // The signature is for the gate: it needs to know the clients.
  assert.notEqual(typeof unsealKnock(flipBit(good, 8 * 101), agreeAsServer), "string");
});

Deno.test("unsealKnock() does not derive a key for a datagram of the wrong size or version", async () => {
  const good = await knockBy(ALICE);
  const neverAgree = () => assert.fail("the private key was used");
  assert.equal(unsealKnock(good.subarray(1), neverAgree), "size");
  assert.equal(unsealKnock(flipBit(good, 3), neverAgree), "version");
});

Deno.test("unsealKnock() copies what it reads, for the datagram's buffer is used again", async () => {
  const datagram = await knockBy(ALICE, { target: address("203.0.113.9") });
  const knock = unsealed(datagram);
  const before = structuredClone(knock);
  datagram.fill(0);
  assert.deepEqual(knock, before);
});

Deno.test("unsealKnock() reads a datagram that lies inside a larger buffer", async () => {
  const good = await knockBy(ALICE);
  const buffer = concatBytes(filled(0xff, 7), good, filled(0xff, 9));
  assert.deepEqual(unsealed(buffer.subarray(7, 7 + 165)), unsealed(good));
});

Deno.test("unsealKnock() never throws, and reads no random bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (datagram) => {
    const expected = datagram.length === 165 ? /^(version|key_agreement|decrypt)$/ : /^size$/;
    assert.match(String(unsealKnock(datagram, agreeAsServer)), expected);
  }));
});

Deno.test("a knock that another key signed again unseals to the same knock", async () => {
  const good = await knockBy(ALICE);
  const body = good.slice(0, 101);
  const signedAgain = concatBytes(body, await sign(filled(0x66), body));
  assert.deepEqual(unsealed(signedAgain), unsealed(good));
  assert.notDeepEqual(signedAgain, good);
});
