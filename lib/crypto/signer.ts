/** A client's key as its knocks need it: what signs, wherever the private half is. */

import { type Bytes, type KeyPair, sign } from "./keys.ts";

/** A client's key, wherever it is. */
export interface Signer {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Bytes;
  /** The Ed25519 signature, 64 bytes. */
  readonly sign: (message: Bytes) => Promise<Bytes>;
}

/** The key of a seed that is in memory. */
export function seedSigner({ privateKey, publicKey }: KeyPair): Signer {
  return { publicKey, sign: (message) => sign(privateKey, message) };
}
