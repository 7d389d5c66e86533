/**
 * The vectors that independent implementations made: sealing byte for byte, real knocks by the reference Go client,
 * and one scenario for each flaw. tests/vectors/ holds copies of the project's shared vectors.
 */

import assert from "node:assert/strict";
import { hkdfSync } from "node:crypto";
import { addressToBytes16, formatAddress, isUnspecified } from "../lib/values/address.ts";
import {
  aeadOpen,
  aeadSeal,
  agree,
  type Bytes,
  bytesToHex,
  concatBytes,
  decodeBase64,
  deriveAeadKey,
  encodeBase64,
  hexToBytes,
  KEY_SIZE,
  keyPairOf,
  sign,
} from "../lib/crypto/keys.ts";
import {
  fingerprint,
  keyAgreement,
  publicKeyOf,
  sharedSecret,
  signatureVerifier,
} from "../lib/crypto/sync.ts";
import { type GateClient } from "../lib/gate.ts";
import {
  OFFSET_AEAD_NONCE,
  OFFSET_EPHEMERAL_KEY,
  OFFSET_SEALED,
  OFFSET_SIGNATURE,
  sealKnock,
  splitSignature,
  unsealKnock,
} from "../lib/packet.ts";
import known from "./vectors/known_answers.json" with { type: "json" };
import referenceKnocks from "./vectors/reference_knocks.json" with { type: "json" };
import scenarioFile from "./vectors/scenarios.json" with { type: "json" };
import { address, freshRules, must, outcomeOf, SOURCE } from "./support/knocks.ts";
import { judge } from "./support/judge.ts";

const { scenarios } = scenarioFile;

Deno.test("the vector files are complete", () => {
  assert.equal(known.packets.length, 3);
  assert.equal(referenceKnocks.length, 24);
  assert.equal(scenarios.length, 61);
  assert.equal(new Set(scenarios.map(({ name }) => name)).size, 61);
});

const serverPrivateKey = hexToBytes(known.server_private_key_hex);
const serverPublicKey = hexToBytes(known.server_public_key_hex);
const ephemeralPrivateKey = hexToBytes(known.ephemeral_private_key_hex);
const ephemeralPublicKey = hexToBytes(known.ephemeral_public_key_hex);
const clientSeed = hexToBytes(known.client_seed_hex);
const clientPublicKey = hexToBytes(known.client_public_key_hex);
const aeadNonce = hexToBytes(known.aead_nonce_hex);

Deno.test("known answers: public keys from private ones, in WebCrypto and in node:crypto", async () => {
  const rows = [
    { curve: "X25519", privateKey: serverPrivateKey, expected: known.server_public_key_hex },
    { curve: "X25519", privateKey: ephemeralPrivateKey, expected: known.ephemeral_public_key_hex },
    { curve: "Ed25519", privateKey: clientSeed, expected: known.client_public_key_hex },
  ] as const;
  for (const { curve, privateKey, expected } of rows) {
    assert.equal(bytesToHex((await keyPairOf(curve, privateKey)).publicKey), expected);
    assert.equal(bytesToHex(publicKeyOf(curve, privateKey)), expected);
  }
});

Deno.test("known answers: the shared secret from either side", async () => {
  assert.equal(bytesToHex(await agree(ephemeralPrivateKey, serverPublicKey)), known.dh_hex);
  assert.equal(bytesToHex(await agree(serverPrivateKey, ephemeralPublicKey)), known.dh_hex);
  const secret = sharedSecret(serverPrivateKey)(ephemeralPublicKey);
  assert.equal(secret && bytesToHex(secret), known.dh_hex);
});

Deno.test("known answers: the AEAD key, and the info it is derived with", async () => {
  const secret = hexToBytes(known.dh_hex);
  assert.equal(bytesToHex(await deriveAeadKey(secret)), known.aead_key_hex);
  const aeadKey = must(keyAgreement(serverPrivateKey)(ephemeralPublicKey));
  assert.equal(bytesToHex(aeadKey), known.aead_key_hex);
  const byNode = hkdfSync("sha256", secret, new Uint8Array(0), known.hkdf_info, KEY_SIZE);
  assert.equal(bytesToHex(new Uint8Array(byNode)), known.aead_key_hex);
});

Deno.test("known answers: the client's private key in base64, and its fingerprint", () => {
  const bytes = concatBytes(clientSeed, clientPublicKey);
  assert.equal(encodeBase64(bytes), known.client_private_key_base64);
  assert.deepEqual(decodeBase64(known.client_private_key_base64), bytes);
  assert.equal(fingerprint(clientPublicKey), known.client_fingerprint);
});

for (const { name, target, plaintext_hex, packet_hex } of known.packets) {
  const packet = hexToBytes(packet_hex);
  const body = packet.slice(0, OFFSET_SIGNATURE);
  const signature = packet.slice(OFFSET_SIGNATURE);
  const knock = {
    timestampNs: BigInt(known.timestamp_ns),
    randomNonce: hexToBytes(known.random_nonce_hex),
    target: target === null ? undefined : address(target),
  };

  Deno.test(`known answers: ${name}: sealKnock() gives the packet byte for byte`, async () => {
    const ephemeral = { privateKey: ephemeralPrivateKey, publicKey: ephemeralPublicKey };
    const sealed = await sealKnock(knock, { serverPublicKey, clientSeed, ephemeral, aeadNonce });
    assert.equal(bytesToHex(sealed), packet_hex);
  });

  Deno.test(`known answers: ${name}: unsealKnock() gives the knock back`, () => {
    assert.deepEqual(unsealKnock(packet, keyAgreement(serverPrivateKey)), knock);
    assert.deepEqual(splitSignature(packet), [body, signature]);
  });

  Deno.test(`known answers: ${name}: every part of the packet`, async () => {
    const key = hexToBytes(known.aead_key_hex);
    const sealed = body.slice(OFFSET_SEALED);
    assert.equal(packet[0], 1);
    assert.deepEqual(body.slice(OFFSET_EPHEMERAL_KEY, OFFSET_AEAD_NONCE), ephemeralPublicKey);
    assert.deepEqual(body.slice(OFFSET_AEAD_NONCE, OFFSET_SEALED), aeadNonce);
    assert.deepEqual(aeadSeal(key, aeadNonce, hexToBytes(plaintext_hex)), sealed);
    assert.deepEqual(aeadOpen(key, aeadNonce, sealed), hexToBytes(plaintext_hex));
    assert.deepEqual(await sign(clientSeed, body), signature);
    assert.equal(signatureVerifier(clientPublicKey)(body, signature), true);
  });
}

/** The clients of one server of the reference knocks, by their fingerprints. */
function referenceClientsOf(serverKey: string): GateClient[] {
  const keys = referenceKnocks.filter((each) => each.server_private_key === serverKey)
    .map((each) => each.client_public_key);
  return [...new Set(keys)].map((key) => {
    const publicKey = fromBase64(key);
    return {
      name: fingerprint(publicKey),
      key: bytesToHex(publicKey),
      verify: signatureVerifier(publicKey),
      expiresNs: undefined,
    };
  });
}

function fromBase64(text: string): Bytes {
  return must(decodeBase64(text));
}

Deno.test("reference knocks: two servers, two clients each", () => {
  const servers = [...new Set(referenceKnocks.map((each) => each.server_private_key))];
  assert.deepEqual(servers.map((server) => referenceClientsOf(server).length), [2, 2]);
});

for (const [i, reference] of referenceKnocks.entries()) {
  const agreeAsServer = keyAgreement(fromBase64(reference.server_private_key));
  const datagram = hexToBytes(reference.packet_hex);
  const wanted = address(reference.requested_ip);
  const requested = isUnspecified(wanted) ? undefined : wanted;
  const title = `reference knock ${i + 1}: ${reference.comment}`;

  Deno.test(`${title}: keys`, () => {
    const seedAndKey = fromBase64(reference.client_private_key);
    assert.equal(encodeBase64(seedAndKey.slice(KEY_SIZE)), reference.client_public_key);
    assert.equal(
      encodeBase64(publicKeyOf("Ed25519", seedAndKey.slice(0, KEY_SIZE))),
      reference.client_public_key,
    );
    assert.equal(
      encodeBase64(publicKeyOf("X25519", fromBase64(reference.server_private_key))),
      reference.server_public_key,
    );
  });

  Deno.test(`${title}: plaintext`, () => {
    const unsealed = unsealKnock(datagram, agreeAsServer);
    assert.ok(typeof unsealed !== "string", `expected a knock, got ${unsealed}`);
    const { timestampNs, randomNonce, target } = unsealed;
    assert.equal(timestampNs, BigInt(reference.timestamp_ns));
    assert.equal(bytesToHex(randomNonce), reference.random_nonce_hex);
    assert.deepEqual(target, requested);
    assert.equal(
      requested ? bytesToHex(addressToBytes16(requested)) : "00".repeat(16),
      reference.target_ip_hex,
    );
    const timestampHex = BigInt.asUintN(64, timestampNs).toString(16).padStart(16, "0");
    assert.equal(
      timestampHex + bytesToHex(randomNonce) + reference.target_ip_hex,
      reference.plaintext_hex,
    );
  });

  Deno.test(`${title}: granted once by the gate`, () => {
    const rules = freshRules({
      agree: agreeAsServer,
      clients: referenceClientsOf(reference.server_private_key),
    });
    const nowNs = BigInt(reference.captured_between_ns[1] ?? "");
    const verdict = judge(datagram, SOURCE, nowNs, rules);
    assert.ok(verdict.kind === "grant", `expected a grant, got ${outcomeOf(verdict)}`);
    assert.equal(verdict.client.name, fingerprint(fromBase64(reference.client_public_key)));
    assert.deepEqual(verdict.address, requested ?? SOURCE);
    assert.equal(outcomeOf(judge(datagram, SOURCE, nowNs, rules)), "replay");
  });
}

const scenarioClients = Object.entries(
  scenarioFile.clients as Record<string, { public_key_hex: string; expires_ns?: string }>,
).map(([name, entry]): GateClient => ({
  name,
  key: entry.public_key_hex,
  verify: signatureVerifier(hexToBytes(entry.public_key_hex)),
  expiresNs: entry.expires_ns === undefined ? undefined : BigInt(entry.expires_ns),
}));

Deno.test("scenarios: the server's public key is its private key's", () => {
  const publicKey = publicKeyOf("X25519", hexToBytes(scenarioFile.server_private_key_hex));
  assert.equal(bytesToHex(publicKey), scenarioFile.server_public_key_hex);
});

for (const { name, comment, steps } of scenarios) {
  Deno.test(`scenario ${name}${comment && ": " + comment}`, () => {
    assert.ok(steps.length > 0);
    const rules = freshRules({
      agree: keyAgreement(hexToBytes(scenarioFile.server_private_key_hex)),
      clients: scenarioClients,
      replayWindowNs: BigInt(scenarioFile.replay_window_ns),
    });
    for (const [i, step] of steps.entries()) {
      const datagram = hexToBytes(step.packet_hex);
      const verdict = judge(datagram, address(step.source), BigInt(step.now_ns), rules);
      const granted = verdict.kind === "grant" &&
        { client: verdict.client.name, address: formatAddress(verdict.address) };
      const found = { expect: outcomeOf(verdict), ...granted };
      const { packet_hex: _, now_ns: __, source: ___, ...expected } = step;
      assert.deepEqual(found, expected, `step ${i + 1}`);
    }
  });
}
