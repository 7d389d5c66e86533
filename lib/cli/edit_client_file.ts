/** Changes of the client's file: one at a time, whole or not at all. */

import { OpenmeError } from "../values/errors.ts";
import { readSecretFile } from "../system/read_file.ts";
import { createSecretFile, replaceFile, withFileLock } from "../system/write_file.ts";

/**
 * Changes the client's file, or makes it, while other edits wait. `change` gets the present text, or `undefined`. The
 * function that is returned undoes the change, unless the file has changed again.
 */
export async function changeClientFile(
  path: string,
  change: (old: string | undefined) => Promise<string>,
): Promise<() => Promise<void>> {
  for (let attempt = 0;; attempt++) {
    const exists = await Deno.stat(path).then(() => true, () => false);
    if (exists) {
      return await withFileLock(path, async () => {
        const old = await readSecretFile(path, { missingHint: "try again" });
        const changed = await change(old);
        await replaceFile(path, changed);
        return () => putBack(path, changed, () => replaceFile(path, old));
      });
    }
    try {
      const made = await change(undefined);
      await createSecretFile(path, made, { existsHint: "try again", makeFolder: true });
      return () => putBack(path, made, () => Deno.remove(path));
    } catch (cause) {
      // Another import has just made it.
      const raced = cause instanceof OpenmeError &&
        cause.cause instanceof Deno.errors.AlreadyExists;
      if (!raced || attempt > 0) throw cause;
    }
  }
}

async function putBack(path: string, ours: string, undo: () => Promise<void>): Promise<void> {
  await withFileLock(path, async () => {
    if (await Deno.readTextFile(path) !== ours) {
      throw new Error(`another program has changed ${path} meanwhile`);
    }
    await undo();
  });
}
