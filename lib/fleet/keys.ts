/** By what the hosts of a fleet know each other's entries: a key that only those have who have the server's private key. */

import { createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { type Bytes, concatBytes, decodeBase64, hexToBytes } from "../crypto/keys.ts";

const ENCODER = new TextEncoder();
const KEY_SIZE = 32;

/** Marks what a host has written, and tells it from what anyone else has. */
export interface FleetSeal {
  seal(text: string): string;
  /** The text, or `undefined` where no host of this fleet has written it. */
  open(sealed: string): string | undefined;
}

/**
 * The seal of a fleet: HMAC-SHA256 under HKDF(server's private key, the fleet's name). While the server's key is being
 * rotated the earlier key seals, since hosts that do not have the new one yet know that, and both open.
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
  const tagOf = (text: string, key: Uint8Array) => createHmac("sha256", key).update(text).digest();
  return {
    seal: (text) => `${tagOf(text, keys[0]!).toString("base64")}.${text}`,
    open: (sealed) => {
      const end = sealed.indexOf(".");
      if (end < 0) return undefined;
      const tag = decodeBase64(sealed.slice(0, end));
      const text = sealed.slice(end + 1);
      return tag && keys.some((key) => isEqual(tag, tagOf(text, key))) ? text : undefined;
    },
  };
}

/** The name under which a knock is claimed: a hash, from which the engine learns no nonce. */
export function claimName(key: string, randomNonce: Uint8Array): string {
  const bytes = concatBytes(ENCODER.encode("openme fleet claim v1"), hexToBytes(key), randomNonce);
  return createHash("sha256").update(bytes).digest("hex");
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
