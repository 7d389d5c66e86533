/** Files with a client's key, as `openme keygen` writes them beside the client's profiles. */

import { concatBytes, decodeBase64, encodeBase64, KEY_SIZE, keyPairOf } from "../crypto/keys.ts";
import { OpenmeError } from "../values/errors.ts";
import { readSecretFile } from "../system/read_file.ts";
import { quote } from "../values/text.ts";
import { type Arguments, clientConfigPath, type Context } from "./context.ts";

const KEY_SUFFIX = ".key";

/** Both halves in base64. Throws where the file cannot be read or holds no key. */
export async function readKeyFile(
  path: string,
): Promise<{ privateKey: string; publicKey: string }> {
  const text = await readSecretFile(path, { missingHint: "make one: openme keygen" });
  const bytes = decodeBase64(text.replaceAll(/\s/g, ""));
  if (bytes?.length !== 2 * KEY_SIZE && bytes?.length !== KEY_SIZE) {
    throw new OpenmeError("KEY", `cannot load ${quote(path, 1000)}: it holds no key`);
  }
  const seed = bytes.slice(0, KEY_SIZE);
  const { publicKey } = await keyPairOf("Ed25519", seed);
  return {
    privateKey: encodeBase64(concatBytes(seed, publicKey)),
    publicKey: encodeBase64(publicKey),
  };
}

/** The key files beside the client's profiles. */
export async function keyFiles(args: Arguments, context: Context): Promise<string[]> {
  const folder = folderOfKeys(args, context);
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    return entries.filter(({ name }) => name.endsWith(KEY_SUFFIX))
      .map(({ name }) => `${folder}/${name}`).sort();
  } catch {
    return []; // no folder, no keys
  }
}

/** Where `openme keygen` puts a key. */
export function defaultKeyFile(args: Arguments, context: Context): string {
  return `${folderOfKeys(args, context)}/client${KEY_SUFFIX}`;
}

function folderOfKeys(args: Arguments, context: Context): string {
  return clientConfigPath(args, context).replace(/[^/\\]*$/, "").replace(/(?<=.)[/\\]$/, "") || ".";
}
