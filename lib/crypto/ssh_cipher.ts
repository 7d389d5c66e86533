/**
 * Decrypts what `ssh-keygen` has encrypted by a passphrase. Loaded for that alone: bcrypt_pbkdf is in no other library
 * here, and one call of it takes a second.
 */

import { cbc, ctr, gcm } from "@noble/ciphers/aes.js";
import bcrypt from "bcrypt-pbkdf";
import type { Bytes } from "./keys.ts";

/** How the key is made of the passphrase. */
export interface SshEncryption {
  /** One of `SSH_CIPHERS`. */
  readonly cipher: string;
  readonly passphrase: string;
  readonly salt: Bytes;
  readonly rounds: number;
}

const KEY_SIZE = 32; // AES-256

/** The bytes; `undefined` where a tag or a length is wrong. A wrong passphrase most often gives other bytes. */
export function decryptSshKey(
  sealed: Bytes,
  { cipher, passphrase, salt, rounds }: SshEncryption,
): Uint8Array | undefined {
  const password = new TextEncoder().encode(passphrase);
  const made = new Uint8Array(KEY_SIZE + (cipher.includes("gcm") ? 12 : 16)); // then the IV
  const { length } = salt;
  if (bcrypt.pbkdf(password, password.length, salt, length, made, made.length, rounds) !== 0) {
    return undefined;
  }
  const [key, iv] = [made.slice(0, KEY_SIZE), made.slice(KEY_SIZE)];
  try {
    if (cipher === "aes256-cbc") return cbc(key, iv, { disablePadding: true }).decrypt(sealed);
    return (cipher === "aes256-ctr" ? ctr : gcm)(key, iv).decrypt(sealed);
  } catch {
    return undefined;
  }
}
