/** A new file for the user who runs the command, also through `sudo`. */

import { createSecretFile, createSecretFileFor } from "../system/write_file.ts";
import type { Context } from "./context.ts";
import type { NewFile } from "./undo.ts";

/** Makes a file for the user who has called root by `sudo`, if there is one. */
export async function makeFile([path, content]: NewFile, context: Context): Promise<void> {
  const existsHint = "choose another name, or remove it";
  const [uid, gid] = [context.env("SUDO_UID"), context.env("SUDO_GID")];
  const isId = (text: string | undefined) => /^[1-9]\d{0,8}$/.test(text ?? "");
  if (!isId(uid) || !isId(gid)) {
    return await createSecretFile(path, content, { existsHint, makeFolder: false });
  }
  const owner = { uid: Number(uid), gid: Number(gid) };
  await createSecretFileFor(path, content, { owner, existsHint });
}
