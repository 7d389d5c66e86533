/** The systemd units of packaging/, which the program brings along for machines where no package has installed them. */

import { isThere } from "../../system/is_there.ts";
import { replaceFile } from "../../system/write_file.ts";
import { UNITS } from "./steps.ts";

/** The texts by name, put in when the program is bundled (scripts/compile.ts). */
declare const OPENME_UNITS: Readonly<Record<string, string>> | undefined;

/** The text of a unit. From source it is read from packaging/. */
export async function unitText(name: typeof UNITS[number]): Promise<string> {
  if (typeof OPENME_UNITS !== "undefined") return OPENME_UNITS[name]!;
  return await Deno.readTextFile(new URL(`../../../packaging/${name}`, import.meta.url));
}

/**
 * Writes the units into a folder, those that are not there yet; gives the paths of the written ones. A unit that is there
 * stays as it is.
 */
export async function writeUnits(folder: string): Promise<string[]> {
  const written: string[] = [];
  for (const name of UNITS) {
    const path = `${folder}/${name}`;
    if (isThere(path)) continue;
    await replaceFile(path, await unitText(name));
    await Deno.chmod(path, 0o644); // systemctl cat is for everyone
    written.push(path);
  }
  return written;
}
