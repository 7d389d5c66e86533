/** Puts a whole configuration, the file and its `clients.d`, in the place of another, or of none: all of it or nothing. */

import { OpenmeError } from "../values/errors.ts";
import { clientsFolder, listClientFiles } from "./config_files.ts";
import { isThere } from "./is_there.ts";
import { createSecretFile, keepOldCopy, oldNameOf, stageFile, writeError } from "./write_file.ts";

/** A file of `clients.d` as it is to be. */
export interface NewPerson {
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  readonly text: string;
}

/** A configuration that is written, but not in its place; one of the two is to be called. */
export interface StagedConfig {
  /** Puts it in place, and returns under which names the old one is kept. */
  readonly commit: () => Promise<string[]>;
  readonly discard: () => Promise<void>;
}

/** Whether there is a configuration, or the folder of one. */
export function hasConfig(path: string): boolean {
  return isThere(path) || hasPeople(path);
}

/** Writes a configuration beside where it is to be; makes the folder. Throws where that fails; nothing is left then. */
export async function stageConfig(
  path: string,
  { text, people }: { text: string; people: readonly NewPerson[] },
): Promise<StagedConfig> {
  const folder = clientsFolder(path);
  const newFolder = `${folder}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  const removeNewFolder = () => Deno.remove(newFolder, { recursive: true }).catch(() => {});
  try {
    await makeFolder(path.replace(/[^/\\]*$/, "") || ".");
    if (people.length > 0) await makeFolder(newFolder);
    for (const { name, mode, text } of people) {
      const file = `${newFolder}/${name}`;
      await createSecretFile(file, text, { existsHint: "", makeFolder: false });
      await Deno.chmod(file, 0o600 | mode & 0o755); // its group is another one here
    }
    if (people.length > 0) await Deno.chmod(newFolder, 0o755); // in spite of the umask
    const file = await stageFile(path, text);
    return {
      commit: async () => {
        const undo: (() => Promise<void>)[] = [];
        const rename = async (from: string, to: string) => {
          await Deno.rename(from, to);
          undo.unshift(() => Deno.rename(to, from));
        };
        try {
          const kept: string[] = [];
          if (hasPeople(path) || (people.length > 0 && isThere(folder))) {
            kept.push(oldNameOf(folder));
            await rename(folder, kept[0]!);
          }
          if (people.length > 0) await rename(newFolder, folder);
          // Last, and a file never is missing meanwhile: without one, openme guard would close nothing at a boot.
          const copy = await keepOldCopy(path);
          if (copy !== undefined) {
            kept.unshift(copy);
            undo.unshift(() => Deno.remove(copy));
          } else if (isThere(path)) { // a link that leads nowhere
            kept.unshift(oldNameOf(path));
            await rename(path, kept[0]!);
          }
          await file.commit();
          return kept;
        } catch (cause) {
          for (const step of undo) await step().catch(() => {});
          await Promise.all([file.discard(), removeNewFolder()]);
          throw writeError(path, cause);
        }
      },
      discard: async () => {
        await Promise.all([file.discard(), removeNewFolder()]);
      },
    };
  } catch (cause) {
    await removeNewFolder();
    throw writeError(path, cause);
  }
}

function hasPeople(path: string): boolean {
  try {
    return listClientFiles(path).length > 0;
  } catch (cause) {
    return cause instanceof OpenmeError; // a file that openme does not read
  }
}

async function makeFolder(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode: 0o700 });
}
