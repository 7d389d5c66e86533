/** By what the hosts of a fleet know each other's entries: a key that only those have who have the server's private key. */

import { createHash, hkdfSync, randomBytes } from "node:crypto";
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { type Bytes, concatBytes, decodeBase64, encodeBase64, hexToBytes } from "../crypto/keys.ts";

const ENCODER = new TextEncoder();
const KEY_SIZE = 32;
/** Bytes: random, since hosts that share a key cannot count together (draft-irtf-cfrg-xchacha). */
const NONCE_SIZE = 24;
const TAG_SIZE = 16;

/** Hides what a host has written from the engine, and tells it from what anyone else has written. */
export interface FleetSeal {
  /** Base64. */
  seal(text: string): string;
  /** The text, or `undefined` where no host of this fleet has written it. */
  open(sealed: string): string | undefined;
}

/**
 * The seal of a fleet: XChaCha20-Poly1305 under HKDF-SHA256(server's private key, the fleet's name). While the server's key
 * is being rotated the earlier key seals, since hosts that do not have the new one yet know that, and both open.
 */
export function fleetSeal(
  { privateKey, previousPrivateKey }: {
    readonly privateKey: Bytes;
    readonly previousPrivateKey: Bytes | undefined;
  },
  name: string,
): FleetSeal {
  const info = ENCODER.encode(`openme fleet v1 ${name}`);
  const keys = [previousPrivateKey, privateKey].flatMap((key) =>
    key ? [new Uint8Array(hkdfSync("sha256", key, new Uint8Array(), info, KEY_SIZE))] : []
  );
  return {
    seal: (text) => {
      const nonce = new Uint8Array(randomBytes(NONCE_SIZE));
      const sealed = xchacha20poly1305(keys[0]!, nonce).encrypt(ENCODER.encode(text));
      return encodeBase64(concatBytes(nonce, new Uint8Array(sealed)));
    },
    open: (sealed) => {
      const bytes = decodeBase64(sealed);
      if (!bytes || bytes.length < NONCE_SIZE + TAG_SIZE) return undefined;
      const [nonce, rest] = [bytes.subarray(0, NONCE_SIZE), bytes.subarray(NONCE_SIZE)];
      for (const key of keys) {
        try {
          return new TextDecoder().decode(xchacha20poly1305(key, nonce).decrypt(rest));
        } catch {
          // By another key.
        }
      }
      return undefined;
    },
  };
}

/** The name under which a knock is claimed: a hash, from which the engine learns no nonce. */
export function claimName(key: string, randomNonce: Uint8Array): string {
  return hashOf(ENCODER.encode("openme fleet claim v1"), hexToBytes(key), randomNonce);
}

/** The name under which a client's code is claimed: the secret in it keeps others from trying all codes. */
export function codeClaimName(key: string, totp: string, code: number): string {
  return hashOf(ENCODER.encode(`openme fleet code v1 ${key} ${totp} ${code}`));
}

function hashOf(...parts: Uint8Array[]): string {
  return createHash("sha256").update(concatBytes(...parts)).digest("hex");
}
