/**
 * The primitives of the protocol and its keys. X25519 (RFC 7748), Ed25519 (RFC 8032), SHA-256, HMAC and HKDF (RFC 5869)
 * come from WebCrypto, which needs no import: right for a client that runs once. ChaCha20-Poly1305 (RFC 8439), which
 * WebCrypto lacks, comes from noble. A server takes the others from `sync.ts`. No file but these two and `ssh_cipher.ts` names a library.
 */

import { Poly1305 } from "@noble/ciphers/_poly1305.js";
import { chacha20, chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { equalBytes } from "@noble/ciphers/utils.js";

/** Bytes that WebCrypto takes: never a view of shared memory. */
export type Bytes = Uint8Array<ArrayBuffer>;

export const KEY_SIZE = 32; //       X25519 and Ed25519 keys, seeds, and the AEAD key
export const SIGNATURE_SIZE = 64; // Ed25519 (RFC 8032 section 5.1.6)
export const AEAD_NONCE_SIZE = 12; // ChaCha20-Poly1305 (RFC 8439 section 2.8)
export const AEAD_TAG_SIZE = 16; //   Poly1305
export const KNOCK_ID_SIZE = 8;

// What openme's own client fills the AEAD nonce with.
export const STAMP_SIZE = 4;
export const KNOCK_TAG_SIZE = 8;
/** A stamp is the same for so long, in seconds. */
export const STAMP_WINDOW_S = 32;

/** HKDF's `info` (RFC 5869 section 3.2): separates the uses of a secret. */
export const HKDF_INFO = {
  aeadKey: new TextEncoder().encode("openme-v1-chacha20poly1305"),
  stampKey: new TextEncoder().encode("openme-v1-knock-stamp"),
  tagKey: new TextEncoder().encode("openme-v1-knock-tag"),
} as const;

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

/** The AEAD key of one knock, 32 bytes: HKDF-SHA256 of the X25519 secret, without salt. */
export async function deriveAeadKey(sharedSecret: Bytes): Promise<Bytes> {
  return await hkdfSha256(sharedSecret, HKDF_INFO.aeadKey);
}

/**
 * The AEAD nonce of openme's own knocks, 12 bytes: the stamp of the window of that time, then the tag of stamp and
 * ephemeral key (docs/protocol.md, "What openme's own client adds").
 */
export async function knockNonce(
  serverPublicKey: Bytes,
  ephemeralPublicKey: Bytes,
  unixSeconds: number,
): Promise<Bytes> {
  const macWith = async (use: "stampKey" | "tagKey") => {
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const derived = await hkdfSha256(serverPublicKey, HKDF_INFO[use]);
    const key = await crypto.subtle.importKey("raw", derived, hmac, false, ["sign"]);
    return async (bytes: Bytes) => new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes));
  };
  const [macStamp, macTag] = await Promise.all([macWith("stampKey"), macWith("tagKey")]);
  const stamp = (await macStamp(encodeWindow(stampWindowOf(unixSeconds)))).slice(0, STAMP_SIZE);
  const tag = await macTag(concatBytes(stamp, ephemeralPublicKey));
  return concatBytes(stamp, tag.subarray(0, KNOCK_TAG_SIZE));
}

/** The window that a time lies in: windows are numbered from 1970 on. */
export function stampWindowOf(unixSeconds: number): number {
  return Math.floor(unixSeconds / STAMP_WINDOW_S);
}

/** A window as its stamp is made of it: uint64, big-endian. */
export function encodeWindow(window: number): Bytes {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(window));
  return bytes;
}

/** Separates a knock's id from other uses of SHA-256. */
export const KNOCK_ID_LABEL = new TextEncoder().encode("openme-v1-knock-id");

/**
 * The id of a knock: the first 8 bytes of SHA-256(label, random nonce), lower-case hex. It does not reveal the nonce,
 * which only the sender and the server know.
 */
export async function knockId(randomNonce: Bytes): Promise<string> {
  const digest = await sha256(concatBytes(KNOCK_ID_LABEL, randomNonce));
  return bytesToHex(digest.subarray(0, KNOCK_ID_SIZE));
}

/** SHA-256 (FIPS 180-4), 32 bytes. */
export async function sha256(bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/**
 * Makes the knock tags of one server, as {@linkcode knockNonce} defines them: 8 bytes, good until the next call. A tag
 * proves a profile, not whose.
 */
export type KnockTags = (stamp: Uint8Array, ephemeralPublicKey: Uint8Array) => Uint8Array;

/** Makes the stamps of one server, 4 bytes each: what all knocks of openme's own clients bear in one window. */
export type KnockStamps = (window: number) => Uint8Array;

/** ChaCha20-Poly1305 without associated data: ciphertext, then the 16-byte tag. */
export function aeadSeal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array): Bytes {
  return ownBytes(chacha20poly1305(key, nonce).encrypt(plaintext));
}

/** The plaintext, or `undefined` where the tag does not match: noble's `decrypt` throws then, and takes twice as long. */
export function aeadOpen(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
): Bytes | undefined {
  const size = sealed.length - AEAD_TAG_SIZE;
  if (size < 0) return undefined;
  const ciphertext = sealed.subarray(0, size);
  // RFC 8439 section 2.8: over the ciphertext, zeros up to 16 bytes, and two sizes: of no associated data, and its own.
  const mac = new Poly1305(chacha20(key, nonce, ZEROS, macKey)).update(ciphertext);
  if (size % 16 > 0) mac.update(ZEROS.subarray(size % 16, 16));
  sizes.setUint32(8, size, true);
  mac.update(new Uint8Array(sizes.buffer)).digestInto(macTag);
  if (!equalBytes(macTag, sealed.subarray(size))) return undefined;
  return ownBytes(chacha20(key, nonce, ciphertext, undefined, 1));
}

// Of one call, and made once: each datagram of a flood would leave them to be collected.
const ZEROS = new Uint8Array(32);
const macKey = new Uint8Array(32);
const macTag = new Uint8Array(AEAD_TAG_SIZE);
const sizes = new DataView(new ArrayBuffer(16));

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

/** Verifies an Ed25519 signature under one key, in which {@linkcode signingKeyFlaw} must have found nothing. */
export type VerifySignature = (message: Uint8Array, signature: Uint8Array) => boolean;

/** A server's X25519 and HKDF: the AEAD key (32 bytes) for an ephemeral key; `undefined` for one of low order. */
export type KeyAgreement = (ephemeralPublicKey: Uint8Array) => Uint8Array | undefined;

/**
 * Why 32 bytes are unfit as a client's Ed25519 key: a point of small order, under which signatures can be forged, or an
 * encoding that is not canonical (RFC 8032 section 5.1.3: y is below p, and x = 0 has sign 0; both points with x = 0 are
 * of small order).
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

/** Whether 32 bytes are an X25519 public key of low order: anyone knows the secret agreed with it. */
export function isLowOrder(publicKey: Uint8Array): boolean {
  const u = publicKey.slice();
  u[31]! &= 0x7f; // RFC 7748 section 5: the top bit is ignored
  return LOW_ORDER_U.has(bytesToHex(u));
}

/** u of the points of low order on Curve25519 and its twist, little-endian, canonical and not (RFC 7748 section 6.1). */
const LOW_ORDER_U: ReadonlySet<string> = new Set([
  "00".repeat(32), //                      order 4
  "01" + "00".repeat(31), //               order 1
  "ec" + "ff".repeat(30) + "7f", //        p - 1, of order 4 on the twist
  "ed" + "ff".repeat(30) + "7f", //        p, which is 0 again
  "ee" + "ff".repeat(30) + "7f", //        p + 1, which is 1 again
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", // order 8
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", // order 8
]);

/** Decodes standard padded base64; `undefined` for any text that encoding would not give. */
export function decodeBase64(text: string): Bytes | undefined {
  try {
    const bytes = Uint8Array.fromBase64(text);
    return bytes.toBase64() === text ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** Standard padded base64 (RFC 4648 section 4). */
export function encodeBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

export function bytesToHex(bytes: Uint8Array): string {
  return bytes.toHex();
}

export function hexToBytes(hex: string): Bytes {
  if (!/^([0-9a-f]{2})*$/i.test(hex)) throw new RangeError(`"hex" expected pairs of hex digits`);
  return Uint8Array.fromHex(hex);
}

/** The parts, one after the other. */
export function concatBytes(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

async function hkdfSha256(secret: Bytes, info: Bytes): Promise<Bytes> {
  const key = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const hkdf = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info };
  return new Uint8Array(await crypto.subtle.deriveBits(hkdf, key, 8 * KEY_SIZE));
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
