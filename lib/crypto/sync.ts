/**
 * The primitives for a server: synchronous, so that judging a datagram is one step that nothing can interleave. X25519
 * and Ed25519 come from `node:crypto`, hashes from noble, whose prepared HMAC makes a tag in 4 µs. Apart from `keys.ts`,
 * because loading this costs a client 20 to 30 ms.
 */

import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
  verify,
} from "node:crypto";
import { Buffer } from "node:buffer";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import {
  type Bytes,
  bytesToHex,
  concatBytes,
  encodeWindow,
  HKDF_INFO,
  KEY_SIZE,
  type KeyAgreement,
  KNOCK_ID_LABEL,
  KNOCK_ID_SIZE,
  KNOCK_TAG_SIZE,
  type KnockStamps,
  type KnockTags,
  PKCS8_HEAD,
  STAMP_SIZE,
  type VerifySignature,
} from "./keys.ts";

/** DER heads that turn 32 raw bytes into a SubjectPublicKeyInfo (RFC 8410 section 4), and room for these. */
const SPKI = {
  X25519: Buffer.from("302a300506032b656e032100" + "00".repeat(KEY_SIZE), "hex"),
  Ed25519: Buffer.from("302a300506032b6570032100" + "00".repeat(KEY_SIZE), "hex"),
} as const;

export const FINGERPRINT_SIZE = 8; // bytes of SHA-256(public key)

/** The {@linkcode KeyAgreement} of a server with this X25519 private key, 32 bytes. */
export function keyAgreement(privateKey: Bytes): KeyAgreement {
  const agree = sharedSecret(privateKey);
  const derive = preparedHkdf(HKDF_INFO.aeadKey);
  return (ephemeralPublicKey) => {
    const secret = agree(ephemeralPublicKey);
    return secret && derive(secret);
  };
}

/**
 * HKDF-SHA256 without salt for one `info`, 32 bytes of output: RFC 5869 with RFC 2104 written out, on states that are
 * made once. `node:crypto` and noble's own take three times as long, most of it to make and collect objects.
 */
function preparedHkdf(info: Uint8Array): (secret: Uint8Array) => Uint8Array {
  const extract = hmac.create(sha256, new Uint8Array(sha256.outputLen));
  const extracting = extract.clone();
  const empty = sha256.create();
  const hashing = empty.clone();
  const first = concatBytes(info, Uint8Array.of(1)); // T(1) is all of the output
  const inner = new Uint8Array(sha256.blockLen).fill(0x36);
  const outer = new Uint8Array(sha256.blockLen).fill(0x5c);
  const key = new Uint8Array(sha256.outputLen);
  return (secret) => {
    extract._cloneInto(extracting).update(secret).digestInto(key);
    for (let i = 0; i < key.length; i++) {
      inner[i] = 0x36 ^ key[i]!;
      outer[i] = 0x5c ^ key[i]!;
    }
    empty._cloneInto(hashing).update(inner).update(first).digestInto(key);
    empty._cloneInto(hashing).update(outer).update(key).digestInto(key);
    return key.slice();
  };
}

/**
 * X25519 with the given private key, 32 bytes. The function it returns gives the 32-byte secret; `undefined` only for a
 * peer's key of low order, whose secret anyone knows (RFC 7748 section 6.1).
 */
export function sharedSecret(
  privateKey: Bytes,
): (peerPublicKey: Uint8Array) => Uint8Array | undefined {
  const own = privateKeyObject("X25519", privateKey);
  return (peerPublicKey) => {
    if (peerPublicKey.length !== KEY_SIZE) return undefined;
    try {
      const secret = diffieHellman({
        privateKey: own,
        publicKey: publicKeyObject("X25519", peerPublicKey),
      });
      // Deno 2.6 returns zeros where 2.9 throws.
      return secret.some((byte) => byte !== 0) ? secret : undefined;
    } catch {
      return undefined;
    }
  };
}

/** {@linkcode KnockTags} of the server with this X25519 public key, 32 bytes. The key is prepared once: 4 µs a tag. */
export function knockTags(serverPublicKey: Uint8Array): KnockTags {
  const prepared = hmac.create(sha256, keyFrom(serverPublicKey, HKDF_INFO.tagKey));
  const scratch = prepared.clone(); // one for all: a flood makes no garbage
  const digest = new Uint8Array(sha256.outputLen);
  const tag = digest.subarray(0, KNOCK_TAG_SIZE);
  return (stamp, ephemeralPublicKey) => {
    prepared._cloneInto(scratch).update(stamp).update(ephemeralPublicKey).digestInto(digest);
    return tag;
  };
}

/** {@linkcode KnockStamps} of the server with this X25519 public key, 32 bytes. */
export function knockStamps(serverPublicKey: Uint8Array): KnockStamps {
  const key = keyFrom(serverPublicKey, HKDF_INFO.stampKey);
  return (window) => {
    const digest = createHmac("sha256", key).update(encodeWindow(window)).digest();
    return new Uint8Array(digest.subarray(0, STAMP_SIZE));
  };
}

/** Natively, as nothing here is hot: a start that warms noble's SHA-256 loads V8's compilers, 6 MB. */
function keyFrom(serverPublicKey: Uint8Array, info: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", serverPublicKey, new Uint8Array(), info, KEY_SIZE));
}

/** The first 8 bytes of SHA-256(public key), lower-case hex: how a key is named in logs and tables. */
export function fingerprint(publicKey: Uint8Array): string {
  return bytesToHex(fingerprintBytes(publicKey));
}

/** `knockId` of `keys.ts`, synchronous. */
export function knockIdOf(randomNonce: Bytes): string {
  return bytesToHex(sha256(concatBytes(KNOCK_ID_LABEL, randomNonce)).subarray(0, KNOCK_ID_SIZE));
}

/** The 8 bytes of a key's {@linkcode fingerprint}. */
export function fingerprintBytes(publicKey: Uint8Array): Uint8Array {
  // Not noble's: a server that starts hashes thousands of keys before V8 has compiled it.
  return createHash("sha256").update(publicKey).digest().subarray(0, FINGERPRINT_SIZE);
}

/** The hint of a client's public key: the first four bytes of its fingerprint, big-endian. */
export function clientKeyHint(publicKey: Uint8Array): number {
  const { buffer, byteOffset } = fingerprintBytes(publicKey);
  return new DataView(buffer, byteOffset).getUint32(0);
}

/** The verifier of one client's key, 32 bytes. Throws `RangeError` where they are not a point of the curve. */
export function signatureVerifier(publicKey: Uint8Array): VerifySignature {
  let key: KeyObject;
  try {
    key = publicKeyObject("Ed25519", publicKey); // decodes the point
  } catch {
    throw new RangeError(
      `"publicKey" expected an Ed25519 public key, got bytes that are not a point`,
    );
  }
  return (message, signature) => {
    try {
      return verify(null, message, key, signature);
    } catch {
      return false;
    }
  };
}

/** The public key, 32 bytes, of an X25519 private key or an Ed25519 seed. */
export function publicKeyOf(curve: "X25519" | "Ed25519", privateKey: Bytes): Bytes {
  const { x } = createPublicKey(privateKeyObject(curve, privateKey)).export({ format: "jwk" });
  return new Uint8Array(Buffer.from(x!, "base64url"));
}

function privateKeyObject(curve: "X25519" | "Ed25519", privateKey: Bytes): KeyObject {
  if (privateKey.length !== KEY_SIZE) {
    throw new RangeError(`"privateKey" expected ${KEY_SIZE} bytes, got ${privateKey.length}`);
  }
  const key = Buffer.from(concatBytes(PKCS8_HEAD[curve], privateKey));
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}

function publicKeyObject(curve: "X25519" | "Ed25519", publicKey: Uint8Array): KeyObject {
  if (publicKey.length !== KEY_SIZE) {
    throw new RangeError(`"publicKey" expected ${KEY_SIZE} bytes, got ${publicKey.length}`);
  }
  const key = SPKI[curve];
  key.set(publicKey, key.length - KEY_SIZE);
  return createPublicKey({ key, format: "der", type: "spki" });
}
