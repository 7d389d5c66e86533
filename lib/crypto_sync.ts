/**
 * X25519 and Ed25519 for a server: synchronous, from `node:crypto`, so that judging a datagram is one step that nothing
 * can interleave. Kept apart from `crypto.ts` because loading `node:crypto` costs a client 20 to 30 ms.
 */

import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  verify,
} from "node:crypto";
import { Buffer } from "node:buffer";
import {
  type Bytes,
  concatBytes,
  hexToBytes,
  KEY_SIZE,
  type KeyAgreement,
  PKCS8_HEAD,
  type VerifySignature,
} from "./crypto.ts";

/** DER heads that turn 32 raw bytes into a SubjectPublicKeyInfo (RFC 8410 section 4). */
const SPKI_HEAD = {
  X25519: hexToBytes("302a300506032b656e032100"),
  Ed25519: hexToBytes("302a300506032b6570032100"),
} as const;

/**
 * X25519 with the given private key, 32 bytes. The result gives `undefined` for peers' keys of low order, whose secret
 * would be known to anyone (RFC 7748 section 6.1), and for nothing else.
 */
export function keyAgreement(privateKey: Bytes): KeyAgreement {
  const own = privateKeyObject("X25519", privateKey);
  return (peerPublicKey) => {
    if (peerPublicKey.length !== KEY_SIZE) return undefined;
    try {
      const secret = diffieHellman({
        privateKey: own,
        publicKey: publicKeyObject("X25519", peerPublicKey),
      });
      // Deno 2.6 returns zeros where 2.9 throws: look, whichever runs.
      return secret.some((byte) => byte !== 0) ? secret : undefined;
    } catch {
      return undefined;
    }
  };
}

/** The verifier of one client's key, 32 bytes; throws `RangeError` where they are not a point of the curve. */
export function signatureVerifier(publicKey: Uint8Array): VerifySignature {
  let key: KeyObject;
  try {
    key = publicKeyObject("Ed25519", publicKey);
    verify(null, new Uint8Array(1), key, new Uint8Array(64)); // the point is decoded when it is first used
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
  const key = Buffer.from(concatBytes(SPKI_HEAD[curve], publicKey));
  return createPublicKey({ key, format: "der", type: "spki" });
}
