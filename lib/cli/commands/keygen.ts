/** `openme keygen`: a client's key whose private half never leaves the client. */

import type { Profile } from "../../config/profiles.ts";
import { type Bytes, concatBytes, encodeBase64, KEY_SIZE, keyPairOf } from "../../crypto/keys.ts";
import { OpenmeError } from "../../values/errors.ts";
import { createSecretFile } from "../../system/write_file.ts";
import { escapeUnprintable } from "../../values/text.ts";
import {
  type Arguments,
  type Command,
  type Context,
  flagError,
  givenFlag,
  renderJson,
  textFlag,
} from "../context.ts";
import { defaultKeyFile, readKeyFile } from "../key_file.ts";
import { withNewFiles } from "../undo.ts";

const OUT_HINT = "standard output is for the public key; the private one goes into a file";
const EXISTS_HINT =
  "a key is never replaced: name another file with --out FILE; openme keygen --show prints the public half";

export const keygen: Command = {
  about:
    `Makes a client's key, stores its private half in a new file that only you can read, and prints the
public half, which the server registers with "openme add NAME --pubkey BASE64". "openme
import" then puts the profile that the server prints and the private key together.`,
  arguments: "[PROFILE]",
  usage: [
    "[--out FILE] [--json]",
    "--show [PROFILE] [--key FILE] [--json]",
  ],
  parameters: {
    "PROFILE": "with --show: the profile whose key it is",
    "--out FILE": "where the private key goes (default: client.key beside the client's profiles)",
    "--show": `make no key, but print the public half of the one in client.key, or of a profile's`,
    "--key FILE": "with --show: of the key in this file",
    "--json": `{"public_key", "file"}: docs/json.md`,
  },
  example: "openme keygen",
  run: async (args, context) => {
    if (args.values["show"]) return await showPublicKey(args, context);
    const ofShow = givenFlag(args, ["key"]) ?? (args.positionals[0] && "a PROFILE");
    if (ofShow !== undefined) {
      throw new OpenmeError("USAGE", `openme keygen: ${ofShow} goes with --show`, {
        hint: "see openme keygen --help",
      });
    }
    const given = textFlag(args, "out");
    if (given === "" || given === "-") throw flagError("out", "a file name", given, OUT_HINT);
    const path = given ?? defaultKeyFile(args, context);
    const seed = crypto.getRandomValues(new Uint8Array(KEY_SIZE));
    const { publicKey } = await keyPairOf("Ed25519", seed);
    const text = encodeBase64(publicKey);
    const content = encodeBase64(concatBytes(seed, publicKey)) + "\n";
    const makeFolder = given === undefined;
    // Where the public half cannot be printed, a file that is left would stop the next try.
    await withNewFiles(
      [[path, content]],
      () => createSecretFile(path, content, { existsHint: EXISTS_HINT, makeFolder }),
      () => Promise.resolve(context.stdout(render(args, text, path))),
    );
    if (context.interactive) {
      context.stderr(`openme: wrote the private key to ${escapeUnprintable(path)}`);
      context.stderr(`openme: next, on the server: openme add NAME --pubkey ${text}`);
    }
    return 0;
  },
};

/** The public half of an existing key. */
async function showPublicKey(args: Arguments, context: Context): Promise<number> {
  const [name] = args.positionals;
  const given = textFlag(args, "key");
  if (args.values["out"] !== undefined || (name !== undefined && given !== undefined)) {
    throw new OpenmeError("USAGE", "--show goes with a PROFILE or with --key FILE", {
      hint: "see openme keygen --help",
    });
  }
  if (name !== undefined) {
    const { loadProfile } = await import("../load_profile.ts");
    const profile = await loadProfile(args, context, name);
    context.stdout(render(args, encodeBase64(await publicKeyOf(profile, context)), null));
    return 0;
  }
  const path = given ?? defaultKeyFile(args, context);
  const { publicKey } = await readKeyFile(path);
  context.stdout(render(args, publicKey, path));
  return 0;
}

async function publicKeyOf(profile: Profile, context: Context): Promise<Bytes> {
  const { clientPublicKey, identity } = profile;
  if (clientPublicKey) return clientPublicKey;
  if (identity?.kind === "file") {
    const { publicKeyOfFile } = await import("../identity.ts");
    return await publicKeyOfFile(identity.path, context);
  }
  throw new OpenmeError("KEY", `the profile ${profile.name} says no public_key`, {
    hint: "ssh-add -L prints the public keys of the ssh-agent",
  });
}

function render({ values }: Arguments, publicKey: string, file: string | null): string {
  return values["json"] ? renderJson({ public_key: publicKey, file }) : publicKey + "\n";
}
