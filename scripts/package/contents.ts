/** What the packages for dpkg, rpm and pacman have in them. */

import { UNITS } from "../../lib/cli/setup/steps.ts";
import { run } from "../run.ts";
import { debianChangelog } from "./changelog.ts";
import { COMPLETIONS, FOR_METRICS, MAN_PAGE, ROOT, writeFile, writePrinted } from "./files.ts";
import type { PackageOptions } from "./options.ts";

/** A file of a package, or a folder of its own. All belong to root. */
export interface Content {
  /** The file here; a folder has none. */
  readonly source?: string;
  /** Its absolute path where it is installed. */
  readonly path: string;
  readonly mode: number;
}

/** Debian's zsh looks for completions of packages in a folder of their own. */
const DEBIAN_ZSH = "share/zsh/vendor-completions/_openme";

/** Writes the files of a package into `work`; returns them and where each is installed. */
export async function writeContents(
  packager: "deb" | "rpm" | "archlinux",
  work: string,
  options: PackageOptions,
): Promise<Content[]> {
  const contents: Content[] = [
    { source: options.program, path: "/usr/bin/openme", mode: 0o755 },
    // Keys are in it.
    { path: "/etc/openme", mode: 0o700 },
  ];
  const add = (source: string, path: string) => contents.push({ source, path, mode: 0o644 });
  for (const unit of UNITS) add(`${ROOT}packaging/${unit}`, `/usr/lib/systemd/system/${unit}`);

  await writePrinted(options.program, work);
  add(await gzip(`${work}/${MAN_PAGE}`), `/usr/${MAN_PAGE}.gz`);
  for (const [shell, file] of Object.entries(COMPLETIONS)) {
    add(`${work}/${file}`, `/usr/${packager === "deb" && shell === "zsh" ? DEBIAN_ZSH : file}`);
  }

  if (packager !== "deb") {
    for (const kind of ["doc", "licenses"]) {
      contents.push({ path: `/usr/share/${kind}/openme`, mode: 0o755 });
    }
  }
  for (const [name, source] of Object.entries(FOR_METRICS)) {
    add(`${ROOT}${source}`, `/usr/share/doc/openme/${name}`);
  }
  if (packager === "deb") {
    const markdown = await Deno.readTextFile(`${ROOT}CHANGELOG.md`);
    await writeFile(`${work}/changelog`, debianChangelog(markdown, options));
    add(await gzip(`${work}/changelog`), "/usr/share/doc/openme/changelog.gz");
    add(`${ROOT}packaging/debian/copyright`, "/usr/share/doc/openme/copyright");
    add(`${ROOT}packaging/debian/lintian-overrides`, "/usr/share/lintian/overrides/openme");
  } else {
    add(`${ROOT}LICENSE`, "/usr/share/licenses/openme/LICENSE");
    add(`${ROOT}CHANGELOG.md`, "/usr/share/doc/openme/CHANGELOG.md");
  }
  return contents;
}

/** Compresses a file, without its name and time; returns the path of the result. */
async function gzip(path: string): Promise<string> {
  const code = await run("gzip", ["-n9", path]);
  if (code !== 0) throw new Error(`gzip: ${path} was not compressed`);
  return `${path}.gz`;
}
