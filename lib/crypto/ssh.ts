/** How SSH writes values and Ed25519 keys: RFC 4251 section 5, RFC 8709 section 4. */

import { type Bytes, concatBytes, encodeBase64, KEY_SIZE, sha256 } from "./keys.ts";

/** The one type of key that signs knocks. */
export const SSH_ED25519 = "ssh-ed25519";

/** How `ssh-keygen` encrypts a private key by default, how it did, and what `-Z` is most often given. */
export const SSH_CIPHERS: readonly string[] = [
  "aes256-ctr",
  "aes256-cbc",
  "aes256-gcm@openssh.com",
];

/** The bytes are not what SSH would write. */
export class SshFormatError extends Error {
  override name = "SshFormatError";
}

/** Reads one value after the other. Every method throws {@linkcode SshFormatError} where too few bytes are left. */
export class SshReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(count: number): Bytes {
    if (count > this.left) throw new SshFormatError(`${count} bytes expected, ${this.left} left`);
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at) as Bytes;
  }

  byte(): number {
    return this.take(1)[0]!;
  }

  uint32(): number {
    return new DataView(this.take(4).buffer).getUint32(0);
  }

  /** A string: its length, then its bytes. */
  string(): Bytes {
    return this.take(this.uint32());
  }

  /** A string of letters; what is not UTF-8 becomes U+FFFD. */
  text(): string {
    return new TextDecoder().decode(this.string());
  }
}

/** What `read` makes of the bytes; `undefined` where they are not as it expects, or some are left. */
export function readSsh<T>(bytes: Uint8Array, read: (reader: SshReader) => T): T | undefined {
  const reader = new SshReader(bytes);
  try {
    const value = read(reader);
    return reader.left === 0 ? value : undefined;
  } catch (cause) {
    if (cause instanceof SshFormatError) return undefined;
    throw cause;
  }
}

export function sshUint32(value: number): Bytes {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** A string: its length, then its bytes. */
export function sshString(value: Uint8Array | string): Bytes {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return concatBytes(sshUint32(bytes.length), bytes);
}

/** An Ed25519 public key as SSH writes it. */
export function sshBlobOf(publicKey: Bytes): Bytes {
  return concatBytes(sshString(SSH_ED25519), sshString(publicKey));
}

/** The Ed25519 public key (32 bytes) that SSH wrote; `undefined` for anything else, other types of keys included. */
export function keyOfSshBlob(blob: Uint8Array): Bytes | undefined {
  const key = readSsh(
    blob,
    (reader) => reader.text() === SSH_ED25519 ? reader.string() : undefined,
  );
  return key?.length === KEY_SIZE ? key : undefined;
}

/** An Ed25519 key's fingerprint as `ssh-add -l` prints it: `SHA256:` and 43 characters. */
export async function sshFingerprint(publicKey: Bytes): Promise<string> {
  return "SHA256:" + encodeBase64(await sha256(sshBlobOf(publicKey))).replace(/=+$/, "");
}
