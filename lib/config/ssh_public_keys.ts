/** OpenSSH's public keys as text: a `.pub` file, or an `authorized_keys` with options (sshd(8), "AUTHORIZED_KEYS"). */

import { type Bytes, signingKeyFlaw } from "../crypto/keys.ts";
import { keyOfSshBlob, SSH_ED25519, sshFingerprint } from "../crypto/ssh.ts";
import { ConfigError } from "./fields.ts";
import { quote } from "../values/text.ts";

/** One Ed25519 key. */
export interface SshPublicKey {
  readonly publicKey: Bytes;
  /** As `ssh-add -l` prints it. */
  readonly fingerprint: string;
  /** The rest of its line, most often `user@host`; may be empty. */
  readonly comment: string;
  /** What stands before the type: for sshd, not for openme. */
  readonly hasOptions: boolean;
}

/** The keys of a text, each once, and the lines with keys of other types. */
export interface SshPublicKeys {
  readonly keys: readonly SshPublicKey[];
  readonly others: readonly { readonly type: string; readonly comment: string }[];
}

const KEY_TYPE = /^(ssh|ecdsa|sk)-[\w@.-]{1,60}$/;

/** Reads all lines. Throws `ConfigError`, with the line's number, for one that is neither a key nor a comment. */
export async function readSshPublicKeys(text: string): Promise<SshPublicKeys> {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw new ConfigError(
      "the file",
      "expected a public key, got a private one",
      "it must not leave its machine: take the file beside it that ends in .pub",
    );
  }
  const keys = new Map<string, SshPublicKey>();
  const others: { type: string; comment: string }[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const where = `line ${i + 1}`;
    const { options, type, blob, comment } = splitLine(trimmed, where);
    // A certificate authority's key is no one's own.
    if (type !== SSH_ED25519 || /(^|,)cert-authority(,|$)/i.test(options)) {
      others.push({ type: type === SSH_ED25519 ? "cert-authority" : type, comment });
      continue;
    }
    const publicKey = readBlob(blob);
    if (!publicKey || signingKeyFlaw(publicKey)) {
      throw new ConfigError(where, `expected the rest of an ${SSH_ED25519} key, got no such key`);
    }
    const fingerprint = await sshFingerprint(publicKey);
    if (keys.has(fingerprint)) continue;
    keys.set(fingerprint, { publicKey, fingerprint, comment, hasOptions: options !== "" });
  }
  return { keys: [...keys.values()], others };
}

/** A line's parts: the options are missing where it begins with the type. */
function splitLine(line: string, where: string) {
  const start = KEY_TYPE.test(firstWord(line)) ? 0 : endOfOptions(line);
  const [type = "", blob = "", ...comment] = line.slice(start).trim().split(/[ \t]+/);
  if (KEY_TYPE.test(type) && blob !== "") {
    return { options: line.slice(0, start), type, blob, comment: comment.join(" ") };
  }
  throw new ConfigError(
    where,
    `expected an OpenSSH public key such as "${SSH_ED25519} AAAA… alice@laptop", got ${
      quote(line)
    }`,
    /^---- BEGIN SSH2/.test(line)
      ? "this is another form of it: ssh-keygen -i -f FILE turns it into OpenSSH's"
      : "ssh-keygen -y -f KEY prints the public key of a private one",
  );
}

function firstWord(line: string): string {
  return /^\S*/.exec(line)![0];
}

/** Where the first white space outside quotes is; `\"` in them is a quote of the value. */
function endOfOptions(line: string): number {
  let isQuoted = false;
  for (let at = 0; at < line.length; at++) {
    const character = line[at]!;
    if (character === "\\" && line[at + 1] === '"') at++;
    else if (character === '"') isQuoted = !isQuoted;
    else if (!isQuoted && /[ \t]/.test(character)) return at;
  }
  return line.length;
}

function readBlob(base64: string): Bytes | undefined {
  try {
    return keyOfSshBlob(Uint8Array.fromBase64(base64));
  } catch {
    return undefined;
  }
}
