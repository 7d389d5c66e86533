/**
 * A server that knows neither stamps nor hints nor codes: the protocol by its text, on WebCrypto and one AEAD, without a
 * line of openme's. What openme's own client adds must mean nothing to it.
 */

import assert from "node:assert/strict";
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import reference from "./vectors/reference_knocks.json" with { type: "json" };
import { sealFresh } from "../lib/client/knock.ts";
import { ALICE, ALICE_PROFILE, SERVER_PRIVATE_KEY } from "./support/knocks.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const PKCS8_X25519 = Uint8Array.fromHex("302e020100300506032b656e04220420");

/** What a knock says, or why it is dropped. */
async function open(
  datagram: Bytes,
  { serverKey, clients }: { serverKey: Bytes; clients: Bytes[] },
) {
  if (datagram.length !== 165 || datagram[0] !== 1) return "not a knock";
  const pkcs8 = Uint8Array.of(...PKCS8_X25519, ...serverKey);
  const own = await crypto.subtle.importKey("pkcs8", pkcs8, "X25519", false, ["deriveBits"]);
  const peer = await crypto.subtle.importKey("raw", datagram.slice(1, 33), "X25519", false, []);
  const secret = await crypto.subtle.deriveBits({ name: "X25519", public: peer }, own, 256);
  const hkdf = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const info = new TextEncoder().encode("openme-v1-chacha20poly1305");
  const params = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info };
  const key = new Uint8Array(await crypto.subtle.deriveBits(params, hkdf, 256));
  const plaintext = chacha20poly1305(key, datagram.slice(33, 45)).decrypt(datagram.slice(45, 101));
  for (const raw of clients) {
    const client = await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]);
    const [signature, signed] = [datagram.slice(101), datagram.slice(0, 101)];
    if (!await crypto.subtle.verify("Ed25519", client, signature, signed)) continue;
    const view = new DataView(plaintext.buffer, plaintext.byteOffset);
    return {
      client: raw.toHex(),
      ageMs: Date.now() - Number(view.getBigInt64(0) / 1_000_000n),
      randomNonce: plaintext.slice(8, 24).toHex(),
      target: plaintext.slice(24, 40).toHex(),
    };
  }
  return "no client's signature";
}

Deno.test("a server that knows no stamp, no hint and no code takes a knock with all three", async () => {
  for (const digits of [0, 755224, 999_999]) {
    const code = { digits, givenMs: Date.now() };
    const { datagram } = await sealFresh({ ...ALICE_PROFILE, code }, undefined);
    const clients = [new Uint8Array(32).fill(9), Uint8Array.fromHex(ALICE.key)];
    const knock = await open(datagram, { serverKey: SERVER_PRIVATE_KEY, clients });
    assert.ok(typeof knock === "object", String(knock));
    assert.equal(knock.client, ALICE.key);
    assert.ok(Math.abs(knock.ageMs) < 30_000);
    assert.match(knock.target, /^0+$/);
    // The code is where docs/protocol.md has it, before the hint; 8 random bytes are left.
    assert.equal(knock.randomNonce.slice(16, 24), digits.toString(16).padStart(8, "0"));
    assert.match(knock.randomNonce, /^(?!0{16})/);
  }
});

Deno.test("it takes the knocks that the reference client was recorded with", async () => {
  assert.ok(reference.length > 20);
  for (const each of reference) {
    const knock = await open(Uint8Array.fromHex(each.packet_hex), {
      serverKey: Uint8Array.fromBase64(each.server_private_key),
      clients: [Uint8Array.fromBase64(each.client_public_key)],
    });
    assert.ok(typeof knock === "object", each.comment);
    assert.equal(knock.randomNonce, each.random_nonce_hex);
    assert.equal(knock.target, each.target_ip_hex);
  }
});
