/** A client's key in a file of its own, as `openme keygen` writes it. */

import { concatBytes, decodeBase64, encodeBase64, KEY_SIZE, keyPairOf } from "../crypto/keys.ts";
import { OpenmeError } from "../values/errors.ts";
import { readSecretFile } from "../system/read_file.ts";
import { quote } from "../values/text.ts";

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
