/**
 * An OpenSSH private key file (`openssh-key-v1`, PROTOCOL.key in OpenSSH's source), Ed25519, encrypted or not.
 */

import { type Bytes, bytesToHex, concatBytes, KEY_SIZE } from "../crypto/keys.ts";
import { keyOfSshBlob, readSsh, SSH_CIPHERS, SSH_ED25519, type SshReader } from "../crypto/ssh.ts";
import { ConfigError } from "./fields.ts";

/** A key file that has been read, and not decrypted yet. */
export interface SshPrivateKey {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Bytes;
  readonly isEncrypted: boolean;
  /** The seed, 32 bytes; `undefined` where the passphrase is wrong. Throws `ConfigError` where the file is damaged. */
  readonly open: (passphrase: string) => Promise<Bytes | undefined>;
}

const MAGIC = "openssh-key-v1\0";
const ARMOUR =
  /^\s*-----BEGIN OPENSSH PRIVATE KEY-----\r?\n([A-Za-z0-9+/=\s]*)-----END OPENSSH PRIVATE KEY-----\s*$/;

/** More than anyone waits for: `ssh-keygen` takes 16 or 24, and 1,000 last a minute. */
const MOST_ROUNDS = 1000;

/** Reads the file's text. Throws `ConfigError`, without a byte of the key. */
export function readSshPrivateKey(text: string): SshPrivateKey {
  const bytes = readArmour(text);
  const file = readSsh(bytes, readContainer);
  if (!file) throw damaged();
  const publicKey = keyOfSshBlob(file.publicBlob);
  if (!publicKey) {
    const type = readSsh(file.publicBlob, (reader) => {
      const name = reader.text();
      reader.take(reader.left);
      return name;
    });
    throw otherType(type);
  }
  const isEncrypted = file.cipher !== "none";
  const isKnown = SSH_CIPHERS.includes(file.cipher) && file.kdf === "bcrypt";
  if (isEncrypted ? !isKnown : file.kdf !== "none") {
    throw new ConfigError(
      "the key",
      "expected encryption by aes256-ctr, aes256-gcm or aes256-cbc, got another one",
      "encrypt it anew: ssh-keygen -p -Z aes256-ctr -f FILE",
    );
  }
  return {
    publicKey,
    isEncrypted,
    open: async (passphrase) => {
      const plain = await decrypt(file, passphrase);
      const opened = plain && readSsh(plain, readPrivatePart);
      if (!opened) {
        if (isEncrypted) return undefined;
        throw damaged();
      }
      if (!isSame(opened.publicKey, publicKey)) throw damaged();
      return opened.seed;
    },
  };
}

function readArmour(text: string): Bytes {
  const base64 = ARMOUR.exec(text)?.[1];
  const type = /-----BEGIN ([A-Z0-9 ]{0,40}?)\s?PRIVATE KEY-----/.exec(text)?.[1];
  if (base64 === undefined && type !== undefined && type !== "OPENSSH") {
    throw ["RSA", "EC", "DSA"].includes(type) ? otherType(type) : new ConfigError(
      "the file",
      "expected a private key in OpenSSH's form, got one in another form",
      "ssh-keygen -t ed25519 makes one that openme reads; or add yours to the ssh-agent: identity: agent",
    );
  }
  if (base64 === undefined) {
    throw new ConfigError(
      "the file",
      /^\s*(ssh|ecdsa|sk)-/.test(text)
        ? "expected an OpenSSH private key, got a public one"
        : "expected an OpenSSH private key, got something else",
      "name the file that ssh-keygen wrote beside the one that ends in .pub",
    );
  }
  try {
    return Uint8Array.fromBase64(base64);
  } catch {
    throw damaged();
  }
}

interface Container {
  readonly cipher: string;
  readonly kdf: string;
  readonly kdfOptions: Bytes;
  readonly publicBlob: Bytes;
  /** The private part, with the cipher's tag behind it. */
  readonly sealed: Bytes;
}

function readContainer(reader: SshReader): Container {
  const magic = new TextDecoder().decode(reader.take(MAGIC.length));
  const [cipher, kdf, kdfOptions] = [reader.text(), reader.text(), reader.string()];
  const count = reader.uint32();
  if (magic !== MAGIC || count !== 1) throw damaged();
  const publicBlob = reader.string();
  const sealed = reader.string();
  const tag = reader.take(reader.left);
  return { cipher, kdf, kdfOptions, publicBlob, sealed: concatBytes(sealed, tag) };
}

/** The private part; `undefined` where the passphrase is wrong. */
async function decrypt(
  { cipher, kdf, kdfOptions, sealed }: Container,
  passphrase: string,
): Promise<Uint8Array | undefined> {
  if (kdf !== "bcrypt") return sealed;
  const options = readSsh(kdfOptions, (reader) => ({
    salt: reader.string(),
    rounds: reader.uint32(),
  }));
  if (!options || options.salt.length === 0 || options.rounds === 0) throw damaged();
  if (options.rounds > MOST_ROUNDS) {
    throw new ConfigError(
      "the key",
      `expected at most ${MOST_ROUNDS} rounds (ssh-keygen -a), got ${options.rounds}`,
      "encrypt it anew: ssh-keygen -p -f FILE; or add it to the ssh-agent: identity: agent",
    );
  }
  const { decryptSshKey } = await import("../crypto/ssh_cipher.ts");
  return await decryptSshKey(sealed, { cipher, passphrase, ...options });
}

/** The two check words differ where the passphrase was wrong. */
function readPrivatePart(reader: SshReader): { seed: Bytes; publicKey: Bytes } | undefined {
  if (reader.uint32() !== reader.uint32() || reader.text() !== SSH_ED25519) return undefined;
  const publicKey = reader.string();
  const privateKey = reader.string();
  reader.string(); // the comment
  for (let i = 1; reader.left > 0; i++) if (reader.byte() !== (i & 0xff)) return undefined;
  const isWhole = privateKey.length === 2 * KEY_SIZE &&
    isSame(privateKey.slice(KEY_SIZE), publicKey);
  return isWhole ? { seed: privateKey.slice(0, KEY_SIZE), publicKey } : undefined;
}

function isSame(one: Bytes, other: Bytes): boolean {
  return bytesToHex(one) === bytesToHex(other);
}

function damaged(): ConfigError {
  return new ConfigError("the key", "expected an OpenSSH private key, got a damaged one");
}

function otherType(type = "unknown"): ConfigError {
  const shown = /^[\w@.-]{1,60}$/.test(type) ? type : "unknown";
  return new ConfigError(
    "the key",
    `expected an Ed25519 key, got one of the type ${shown}`,
    "a knock has room for an Ed25519 signature only: make such a key, ssh-keygen -t ed25519",
  );
}
