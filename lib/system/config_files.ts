/** The files of a server's configuration: the file itself, and those of `clients.d` beside it. */

import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** The folder beside the configuration whose files hold clients. Asked for twice a second: node:path takes 100 times as long. */
export function clientsFolder(path: string): string {
  return path.replace(/[^/\\]*$/, "clients.d");
}

/**
 * The files of `clients.d` beside `path`, sorted; none where there is no such folder. Names that begin with a dot or do
 * not end in `.yaml`, such as an editor's copy or a README, are passed over. Throws where the folder cannot be read.
 */
export function listClientFiles(path: string): string[] {
  const folder = clientsFolder(path);
  try {
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name)
      .filter((name) => !name.startsWith("."));
    const short = names.find((name) => name.endsWith(".yml"));
    if (short !== undefined) {
      throw new OpenmeError(
        "CONFIG",
        `cannot load ${quote(`${folder}/${short}`, 1000)}: expected a name that ends in .yaml`,
        { hint: "rename it: a file that is left out in silence would lock its clients out" },
      );
    }
    return names.filter((name) => name.endsWith(".yaml")).sort().map((name) => `${folder}/${name}`);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw cause;
  }
}

/** A text that differs after one of the files was changed, added or removed; `undefined` without the main file. */
export function identifyConfig(path: string): string | undefined {
  const main = identifyFile(path);
  if (main === undefined) return undefined;
  try {
    const files = listClientFiles(path).map((file) => `${file} ${identifyFile(file)}`);
    return [main, ...files].join("\n");
  } catch (cause) {
    return `${main}\n${cause}`; // loading the files reports it
  }
}

/** A text that differs after a file, links followed, was replaced or written; `undefined` without one. */
function identifyFile(path: string): string | undefined {
  try {
    const { dev, ino, size, mtime, ctime } = Deno.statSync(path);
    return [dev, ino, size, mtime?.getTime(), ctime?.getTime()].join(" ");
  } catch {
    return undefined;
  }
}
