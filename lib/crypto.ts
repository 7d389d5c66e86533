/**
 * The primitives of the protocol and its key types; beside `crypto_sync.ts` the only file that knows which library
 * provides them. ChaCha20-Poly1305 (RFC 8439), HKDF-SHA256 (RFC 5869) and SHA-256 come from noble; X25519 (RFC 7748)
 * and Ed25519 (RFC 8032) from WebCrypto, which needs no import: right for a client that runs once. A server takes the
 * same two from `crypto_sync.ts`, where they are synchronous.
 */

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";

/** Bytes that WebCrypto takes: never a view of shared memory. */
export type Bytes = Uint8Array<ArrayBuffer>;

export const KEY_SIZE = 32; //       X25519 and Ed25519 keys, seeds, and the AEAD key
export const SIGNATURE_SIZE = 64; // Ed25519 (RFC 8032 section 5.1.6)
export const AEAD_NONCE_SIZE = 12; // ChaCha20-Poly1305 (RFC 8439 section 2.8)
export const AEAD_TAG_SIZE = 16; //   Poly1305
export const FINGERPRINT_SIZE = 8; // of SHA-256(public key)

/** HKDF's `info`: separates this use of the shared secret from any other. */
const AEAD_KEY_INFO = new TextEncoder().encode("openme-v1-chacha20poly1305");

/** Separates the key of knock tags from every other key. */
const TAG_KEY_INFO = new TextEncoder().encode("openme-v1-knock-tag");

/** DER heads that turn 32 raw bytes into a PKCS #8 private key (RFC 8410 section 7). */
export const PKCS8_HEAD = {
  X25519: hexToBytes("302e020100300506032b656e04220420"),
  Ed25519: hexToBytes("302e020100300506032b657004220420"),
} as const;

/** A private key with its public key, 32 bytes each. */
export interface KeyPair {
  readonly privateKey: Bytes;
  readonly publicKey: Bytes;
}

/** The AEAD key of one knock: HKDF-SHA256 of the X25519 secret, no salt. 32 bytes. */
export function deriveAeadKey(sharedSecret: Uint8Array): Bytes {
  return ownBytes(hkdf(sha256, sharedSecret, undefined, AEAD_KEY_INFO, KEY_SIZE));
}

/**
 * The knock tags of one server: the first 12 bytes of HMAC-SHA256(k, ephemeral public key), k = HKDF-SHA256 of the
 * server's public key. Whoever holds a profile of this server can make one; it says nothing about who.
 */
export type KnockTags = (ephemeralPublicKey: Uint8Array) => Bytes;

/** {@linkcode KnockTags} of the server with this X25519 public key, 32 bytes. The key is prepared once: 4 µs a tag. */
export function knockTags(serverPublicKey: Uint8Array): KnockTags {
  const key = hkdf(sha256, serverPublicKey, undefined, TAG_KEY_INFO, KEY_SIZE);
  const prepared = hmac.create(sha256, key);
  const scratch = prepared.clone(); // one for all: a flood makes no garbage
  const digest = new Uint8Array(sha256.outputLen);
  return (ephemeralPublicKey) => {
    prepared._cloneInto(scratch).update(ephemeralPublicKey).digestInto(digest);
    return digest.slice(0, AEAD_NONCE_SIZE);
  };
}

/** The bytes of a key's {@linkcode fingerprint}, 8. */
export function fingerprintBytes(publicKey: Uint8Array): Bytes {
  return ownBytes(sha256(publicKey).slice(0, FINGERPRINT_SIZE));
}

/** ChaCha20-Poly1305 without associated data: ciphertext, then the 16-byte tag. */
export function aeadSeal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array): Bytes {
  return ownBytes(chacha20poly1305(key, nonce).encrypt(plaintext));
}

/** The plaintext, or `undefined` where the tag does not match. */
export function aeadOpen(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
): Bytes | undefined {
  try {
    return ownBytes(chacha20poly1305(key, nonce).decrypt(sealed));
  } catch {
    return undefined; // noble throws on a wrong tag; for a datagram that is a verdict, not an error
  }
}

/** The first 8 bytes of SHA-256(public key), lower-case hex: how a key is named in logs and tables. */
export function fingerprint(publicKey: Uint8Array): string {
  return bytesToHex(fingerprintBytes(publicKey));
}

/** X25519 in WebCrypto. Throws where the peer's key is of low order (RFC 7748 section 6.1). */
export async function agree(privateKey: Bytes, peerPublicKey: Bytes): Promise<Bytes> {
  const key = await importPrivateKey("X25519", privateKey, ["deriveBits"]);
  const peer = await crypto.subtle.importKey("raw", peerPublicKey, "X25519", false, []);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: peer }, key, 256));
}

/** The Ed25519 signature (64 bytes) under a 32-byte seed, in WebCrypto. */
export async function sign(seed: Bytes, message: Bytes): Promise<Bytes> {
  const key = await importPrivateKey("Ed25519", seed, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("Ed25519", key, message));
}

/** The key pair of a 32-byte X25519 private key or Ed25519 seed. */
export async function keyPairOf(curve: "X25519" | "Ed25519", privateKey: Bytes): Promise<KeyPair> {
  const key = await importPrivateKey(curve, privateKey, [
    curve === "X25519" ? "deriveBits" : "sign",
  ]);
  const { x } = await crypto.subtle.exportKey("jwk", key);
  const publicKey = decodeBase64(x!.replaceAll("-", "+").replaceAll("_", "/") + "=");
  if (publicKey?.length !== KEY_SIZE) throw new Error(`WebCrypto gave no ${curve} public key`);
  return { privateKey, publicKey };
}

/**
 * Whether `signature` is right for `message`, as far as 32 bytes of any kind can be a key. A registered key never
 * comes here unless {@linkcode signingKeyFlaw} found nothing.
 */
export type VerifySignature = (message: Uint8Array, signature: Uint8Array) => boolean;

/** X25519 with a private key held inside: the 32-byte secret, or `undefined` for a peer's key of low order. */
export type KeyAgreement = (peerPublicKey: Uint8Array) => Uint8Array | undefined;

/**
 * What makes 32 bytes unfit as a client's Ed25519 key, if anything: a point of small order, under which signatures can
 * be forged, or an encoding that is not canonical (RFC 8032 section 5.1.3: y is below p, and x = 0 has sign 0; both
 * points with x = 0 are of small order).
 */
export function signingKeyFlaw(publicKey: Uint8Array): "small order" | "not canonical" | undefined {
  const y = publicKey.slice();
  y[31]! &= 0x7f; // the top bit is the sign of x
  if (SMALL_ORDER_Y.has(bytesToHex(y))) return "small order";
  const aboveP = y[31] === 0x7f && y[0]! >= 0xed &&
    y.subarray(1, 31).every((byte) => byte === 0xff);
  return aboveP ? "not canonical" : undefined;
}

/** y of the eight points of small order (RFC 7748's p = 2^255 - 19), little-endian, canonical and not. */
const SMALL_ORDER_Y: ReadonlySet<string> = new Set([
  "00".repeat(32), //                      order 4
  "01" + "00".repeat(31), //               order 1
  "ec" + "ff".repeat(30) + "7f", //        order 2: p - 1
  "ed" + "ff".repeat(30) + "7f", //        p, which is 0 again
  "ee" + "ff".repeat(30) + "7f", //        p + 1, which is 1 again
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
]);

/** Standard padded base64, strictly: exactly what encoding gives back. `undefined` for anything else. */
export function decodeBase64(text: string): Bytes | undefined {
  try {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return encodeBase64(bytes) === text ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** Standard padded base64 (RFC 4648 section 4). */
export function encodeBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

const HEX_PAIRS: readonly string[] = Array.from(
  { length: 256 },
  (_, byte) => byte.toString(16).padStart(2, "0"),
);

export function bytesToHex(bytes: Uint8Array): string {
  let hex = "";
  for (const byte of bytes) hex += HEX_PAIRS[byte];
  return hex;
}

export function hexToBytes(hex: string): Bytes {
  if (!/^([0-9a-f]{2})*$/i.test(hex)) throw new RangeError(`"hex" expected pairs of hex digits`);
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** The given parts, one after the other. */
export function concatBytes(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

function importPrivateKey(
  curve: "X25519" | "Ed25519",
  key: Bytes,
  usages: KeyUsage[],
): Promise<CryptoKey> {
  if (key.length !== KEY_SIZE) {
    throw new RangeError(`"key" expected ${KEY_SIZE} bytes, got ${key.length}`);
  }
  return crypto.subtle.importKey("pkcs8", concatBytes(PKCS8_HEAD[curve], key), curve, true, usages);
}

function ownBytes(bytes: Uint8Array): Bytes {
  return bytes as Bytes; // noble allocates plain ArrayBuffers, its types do not say so
}
