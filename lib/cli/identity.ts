/** The key that a profile's `identity` names: in the ssh-agent, or in a file. Loaded for such a profile only. */

import { agentSigner } from "../client/ssh_agent.ts";
import { loadingFrom } from "../config/fields.ts";
import type { Profile } from "../config/profiles.ts";
import { readSshPrivateKey, type SshPrivateKey } from "../config/ssh_private_key.ts";
import { bytesToHex } from "../crypto/keys.ts";
import { seedSigner, type Signer } from "../crypto/signer.ts";
import { sshFingerprint } from "../crypto/ssh.ts";
import { readSecretFile } from "../system/read_file.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { type Context, homeOf } from "./context.ts";
import { askHidden } from "./passphrase.ts";

/** A profile that says where its key is. */
export type IdentityProfile = Profile & { readonly identity: NonNullable<Profile["identity"]> };

/** The key; asks for a passphrase where it takes one. Throws `OpenmeError`. */
export async function openIdentity(profile: IdentityProfile, context: Context): Promise<Signer> {
  const { identity, clientPublicKey, name } = profile;
  if (identity.kind === "agent") {
    if (Deno.build.os === "windows") {
      throw new OpenmeError("KEY", "openme cannot reach Windows' ssh-agent, which has no socket", {
        hint: "name the private key's file in the profile: identity: FILE",
      });
    }
    const wanted = { publicKey: clientPublicKey, fingerprint: identity.fingerprint };
    const signer = await agentSigner(context.env("SSH_AUTH_SOCK"), wanted);
    if (clientPublicKey) await requireSameKey(signer.publicKey, clientPublicKey, name);
    return signer;
  }
  const path = inHome(identity.path, context);
  const key = await readIdentityFile(path);
  // Before a passphrase is asked for.
  if (clientPublicKey) await requireSameKey(key.publicKey, clientPublicKey, name);
  const passphrase = key.isEncrypted ? await askPassphrase(path) : "";
  const seed = await key.open(passphrase).catch((cause) =>
    loadingFrom(path, () => {
      throw cause;
    })
  );
  if (seed) return seedSigner({ privateKey: seed, publicKey: key.publicKey });
  throw new OpenmeError("KEY", `cannot open ${quote(path, 1000)}: the passphrase is wrong`, {
    hint: "ssh-keygen -y -f FILE asks for it as well, and says whether it is right",
  });
}

/** The public half of the key in a file; no passphrase is needed for it. */
export async function publicKeyOfFile(path: string, context: Context) {
  return (await readIdentityFile(inHome(path, context))).publicKey;
}

async function readIdentityFile(path: string): Promise<SshPrivateKey> {
  const text = await readSecretFile(path, {
    missingHint: "see identity in the profile; ssh-keygen -t ed25519 makes a key",
  });
  return loadingFrom(path, () => readSshPrivateKey(text));
}

function inHome(path: string, context: Context): string {
  if (!path.startsWith("~/")) return path;
  const home = homeOf(context);
  if (home !== undefined) return home + path.slice(1);
  throw new OpenmeError("CONFIG", `cannot tell where ${quote(path)} is: HOME is not set`, {
    hint: "give the whole path in the profile",
  });
}

async function askPassphrase(path: string): Promise<string> {
  return await askHidden(`Passphrase of ${quote(path, 1000)}: `, {
    hint: "add the key to the ssh-agent, ssh-add FILE, and say identity: agent in the profile",
  });
}

async function requireSameKey(
  found: Signer["publicKey"],
  wanted: Signer["publicKey"],
  name: string,
): Promise<void> {
  if (bytesToHex(found) === bytesToHex(wanted)) return;
  const [is, expected] = await Promise.all([found, wanted].map(sshFingerprint));
  throw new OpenmeError(
    "KEY",
    `the profile ${quote(name)} is for the key ${expected}, and its identity is ${is}`,
    { hint: "name the right key, or get a profile for this one: openme add NAME --ssh-key FILE" },
  );
}
