/** `openme keygen`: a client's key whose private half never leaves the client. */

import { concatBytes, encodeBase64, KEY_SIZE, keyPairOf } from "../crypto.ts";
import { createSecretFile } from "../files.ts";
import { escapeUnprintable } from "../quote.ts";
import {
  type Arguments,
  clientConfigPath,
  type Command,
  type Context,
  flagError,
  renderJson,
  textFlag,
} from "./context.ts";

/** What the key files beside the client's configuration are called. */
export const KEY_SUFFIX = ".key";

const OUT_HINT = "standard output is for the public key; the private one goes into a file";

export const keygen: Command = {
  summary: "make a key on the client; its private half stays there",
  help:
    `Makes a client's key, stores its private half in a new file that nobody else can read, and prints the public
half, which the server registers with "openme add NAME --pubkey BASE64". "openme import" then puts the profile that
the server prints and the private key together.

Usage: openme keygen [--out FILE] [--json]

  --out FILE   where the private key goes (default: client.key beside the client's profiles)
  --json       {"public_key", "file"}: docs/json.md

Example:
  openme keygen
`,
  options: { out: { type: "string" }, json: { type: "boolean" } },
  positionals: 0,
  run: async (args, context) => {
    const given = textFlag(args, "out");
    if (given === "" || given === "-") throw flagError("out", "a file name", given, OUT_HINT);
    const path = given ?? `${folderOfKeys(args, context)}/client${KEY_SUFFIX}`;
    const seed = crypto.getRandomValues(new Uint8Array(KEY_SIZE));
    const { publicKey } = await keyPairOf("Ed25519", seed);
    await createSecretFile(path, encodeBase64(concatBytes(seed, publicKey)) + "\n", {
      existsHint: "a key is never replaced: name another file with --out FILE",
      makeFolder: given === undefined,
    });
    const text = encodeBase64(publicKey);
    try {
      context.stdout(
        args.values["json"] ? renderJson({ public_key: text, file: path }) : text + "\n",
      );
    } catch (cause) {
      // Nobody has seen the public half: the next try must not find the file in its way.
      await Deno.remove(path).catch(() => {});
      throw cause;
    }
    if (context.interactive) {
      context.stderr(`openme: wrote the private key to ${escapeUnprintable(path)}`);
      context.stderr(`openme: next, on the server: openme add NAME --pubkey ${text}`);
    }
    return 0;
  },
};

/** The folder of the client's configuration. */
export function folderOfKeys(args: Arguments, context: Context): string {
  return clientConfigPath(args, context).replace(/[^/\\]*$/, "").replace(/(?<=.)[/\\]$/, "") || ".";
}
