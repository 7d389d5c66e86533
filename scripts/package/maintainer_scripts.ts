/** The scripts that dpkg, rpm and pacman run: packaging/scripts/, each with the text of steps.sh in it. */

import { ROOT, writeFile } from "./files.ts";

const FOLDER = `${ROOT}packaging/scripts`;
const STEPS = /^\. \.\/steps\.sh\n/m;

/** The scripts of one package manager by their file names, complete. */
export async function maintainerScripts(manager: string): Promise<Map<string, string>> {
  const steps = await Deno.readTextFile(`${FOLDER}/steps.sh`);
  const scripts = new Map<string, string>();
  for (const { name } of Deno.readDirSync(`${FOLDER}/${manager}`)) {
    const text = await Deno.readTextFile(`${FOLDER}/${manager}/${name}`);
    scripts.set(name, text.replace(STEPS, () => `\n${steps}\n`));
  }
  return scripts;
}

/** Writes the scripts into a folder; returns their paths by name. */
export async function writeMaintainerScripts(
  manager: string,
  dir: string,
): Promise<Record<string, string>> {
  const paths: Record<string, string> = {};
  for (const [name, text] of await maintainerScripts(manager)) {
    paths[name] = `${dir}/${name}`;
    await writeFile(paths[name], text, 0o755);
  }
  return paths;
}
