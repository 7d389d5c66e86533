/** The files that every package has beside the program. */

import { fileURLToPath } from "node:url";
import { capture } from "../run.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Where each shell looks for its completion of openme, under /usr or /usr/local. */
export const COMPLETIONS = {
  bash: "share/bash-completion/completions/openme",
  zsh: "share/zsh/site-functions/_openme",
  fish: "share/fish/vendor_completions.d/openme.fish",
} as const;

export const MAN_PAGE = "share/man/man1/openme.1";

/** A dashboard and alert rules for the metrics: the names under which they are installed, and where they are here. */
export const FOR_METRICS = {
  "openme.json": "packaging/grafana/openme.json",
  "openme.rules.yml": "packaging/prometheus/openme.rules.yml",
} as const;

/** Writes what the program itself prints into `prefix`: the manual page, and completion for three shells. */
export async function writePrinted(program: string, prefix: string): Promise<void> {
  await writeFile(`${prefix}/${MAN_PAGE}`, await print(program, "man"));
  for (const [shell, path] of Object.entries(COMPLETIONS)) {
    await writeFile(`${prefix}/${path}`, await print(program, "completion", shell));
  }
}

/** Copies a file of the repository with its folders, mode 0644. */
export async function copyFile(from: string, to: string): Promise<void> {
  await writeFile(to, await Deno.readFile(`${ROOT}${from}`));
}

/** Writes a file with its folders. The umask of whoever builds changes no mode. */
export async function writeFile(
  path: string,
  content: string | Uint8Array,
  mode = 0o644,
): Promise<void> {
  await makeFolder(path.slice(0, path.lastIndexOf("/")));
  await Deno.writeFile(
    path,
    typeof content === "string" ? new TextEncoder().encode(content) : content,
  );
  await Deno.chmod(path, mode);
}

async function makeFolder(path: string): Promise<void> {
  if (await Deno.stat(path).then(() => true, () => false)) return;
  await makeFolder(path.slice(0, path.lastIndexOf("/")));
  await Deno.mkdir(path);
  await Deno.chmod(path, 0o755);
}

async function print(program: string, ...args: string[]): Promise<string> {
  const text = await capture(program, args);
  if (!text) throw new Error(`${program} ${args.join(" ")} printed nothing`);
  return text;
}
