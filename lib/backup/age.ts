/**
 * Encrypts a backup with a passphrase, in the format of age (https://age-encryption.org/v1), whose own program opens it
 * too. The library is loaded late: help and completion do not wait for it.
 */

import { flawIn } from "./flaw.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** How a file begins that is encrypted with a passphrase, and one that is encrypted at all. */
const ENCRYPTED = "age-encryption.org/v1\n";
const WITH_PASSPHRASE = `${ENCRYPTED}-> scrypt `;

/**
 * N = 2^17: a second and 128 MB in JavaScript, so that it runs beside a server with 256 MB. With the library's 2^18, twice
 * of both, who tries passphrases would need twice as long: what one bit more of the passphrase gives.
 */
const SCRYPT_LOG_N = 17;

const DAMAGED = "it is damaged: cut off, or changed";
const DAMAGED_HINT = "take another copy of it";

/** Encrypts; every time to other bytes. */
export async function encryptBackup(plain: Bytes, passphrase: string): Promise<Bytes> {
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  encrypter.setPassphrase(passphrase);
  encrypter.setScryptWorkFactor(SCRYPT_LOG_N);
  return await encrypter.encrypt(plain) as Bytes;
}

/** Throws `OpenmeError` where a file is not encrypted with a passphrase: asked before the passphrase is. */
export function requireEncrypted(bytes: Bytes, file: string): void {
  const start = new TextDecoder().decode(bytes.subarray(0, WITH_PASSPHRASE.length));
  if (start === WITH_PASSPHRASE) return;
  if (start.length < WITH_PASSPHRASE.length && WITH_PASSPHRASE.startsWith(start)) {
    throw flawIn(file, DAMAGED, DAMAGED_HINT);
  }
  throw start.startsWith(ENCRYPTED)
    ? flawIn(file, "it is encrypted to a key, not with a passphrase")
    : flawIn(file, "it is no backup", "expected a file that openme backup has made");
}

/** Decrypts; throws `OpenmeError` where the passphrase is wrong or the file was changed. */
export async function decryptBackup(
  bytes: Bytes,
  passphrase: string,
  file: string,
): Promise<Bytes> {
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase);
  try {
    return await decrypter.decrypt(bytes) as Bytes;
  } catch (cause) {
    if (/no identity matched/.test(String(cause))) {
      throw flawIn(file, "the passphrase is wrong", "or the start of the file was changed");
    }
    if (/work factor is too high/.test(String(cause))) {
      throw flawIn(file, "another program made it, with a scrypt work factor above 20");
    }
    throw flawIn(file, DAMAGED, DAMAGED_HINT);
  }
}
