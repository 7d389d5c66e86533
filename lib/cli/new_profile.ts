/** The profile that `add`, `rotate` and `import` make for a client: its key, and the way to this server. */

import type { NewProfile } from "../config/profile_text.ts";
import type { ServerConfig } from "../config/server.ts";
import { type Bytes, concatBytes, decodeBase64, KEY_SIZE, signingKeyFlaw } from "../crypto/keys.ts";
import { publicKeyOf } from "../crypto/sync.ts";
import { OpenmeError } from "../values/errors.ts";
import { escapeUnprintable } from "../values/text.ts";
import { type Arguments, type Context, givenFlag, textFlag } from "./context.ts";
import { requireName } from "./edit_server_file.ts";

/** A client's key pair; the private half may be known to the client alone. */
export interface ClientKey {
  readonly publicKey: Bytes;
  /** Seed and public key, 64 bytes. */
  readonly privateKey: Bytes | undefined;
  /** Where the client has the private half, if it is an ssh key. */
  readonly identity?: string;
}

export function newClientKey(): ClientKey {
  const seed = crypto.getRandomValues(new Uint8Array(KEY_SIZE));
  const publicKey = publicKeyOf("Ed25519", seed);
  return { publicKey, privateKey: concatBytes(seed, publicKey) };
}

/** The key of `--pubkey` or `--ssh-key`, else a new one. Throws `OpenmeError`, also where flags do not go together. */
export async function clientKeyOf(args: Arguments, context: Context): Promise<ClientKey> {
  const sshKey = textFlag(args, "ssh-key");
  if (sshKey !== undefined) {
    if (textFlag(args, "pubkey") !== undefined) {
      throw new OpenmeError("USAGE", "--ssh-key and --pubkey exclude each other");
    }
    const { sshKeyOf } = await import("./ssh_key_flag.ts");
    const { publicKey, fingerprint, comment, hasOptions } = await sshKeyOf(sshKey, context);
    context.stderr(`openme: the key is ${fingerprint} ${escapeUnprintable(comment)}`.trimEnd());
    if (hasOptions) {
      context.stderr("openme: its options in the file are sshd's: see --ports and --expires here");
    }
    return { publicKey, privateKey: undefined, identity: "agent" };
  }
  return givenKeyOf(args) ?? newClientKey();
}

/** The key of `--pubkey`. Throws, code `USAGE`, where it is none. */
export function givenKeyOf(args: Arguments): ClientKey | undefined {
  const text = textFlag(args, "pubkey");
  if (text === undefined) return undefined;
  const showing = givenFlag(args, ["qr", "qr-out", "link"]);
  if (showing !== undefined) {
    throw new OpenmeError("USAGE", `--pubkey and ${showing} exclude each other`, {
      hint: "a QR code or link carries the private key, and with --pubkey only the client has that",
    });
  }
  const publicKey = decodeBase64(text);
  if (publicKey?.length !== KEY_SIZE || signingKeyFlaw(publicKey)) {
    throw new OpenmeError(
      "USAGE",
      `--pubkey: expected an Ed25519 public key (${KEY_SIZE} bytes in base64)`,
      {
        hint: publicKey?.length === 2 * KEY_SIZE
          ? "that is a private key: it should not have left the client; make another with openme keygen"
          : "openme keygen, run on the client, prints it",
      },
    );
  }
  return { publicKey, privateKey: undefined };
}

/** The profile for a client of this server. */
export function profileFor(
  config: ServerConfig,
  args: Arguments,
  key: ClientKey & { readonly totp?: boolean },
): NewProfile {
  if (config.host === undefined) {
    throw new OpenmeError(
      "CONFIG",
      "cannot make a profile: the configuration does not say how clients reach this server",
      { hint: "add server.host: the server's name or address" },
    );
  }
  const name = textFlag(args, "profile");
  if (name !== undefined) requireName(name, "a profile");
  return {
    name: name ?? config.defaultProfile,
    host: config.host,
    udpPort: config.udpPort,
    healthPort: config.healthPort,
    serverPublicKey: config.publicKey,
    ...key,
  };
}
