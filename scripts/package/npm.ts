/**
 * The npm package: the bundle that dist/openme is compiled from, and packaging/npm, which runs it by the package `deno`.
 *
 * `deno run -A scripts/package/npm.ts FOLDER` lays it out only, for `npm pack` in action.yml: GNU tar is not everywhere.
 */

import { resolve } from "node:path";
import { flagsIn } from "../../lib/cli/arguments.ts";
import { COMMANDS, HIDDEN_COMMANDS } from "../../lib/cli/catalog.ts";
import { GLOBAL_PARAMETERS } from "../../lib/cli/context.ts";
import { VERSION } from "../../lib/values/version.ts";
import { bundleOpenme, readConfig, V8_FLAGS } from "../compile.ts";
import { archive } from "./archive.ts";
import { copyFile, ROOT, writeFile } from "./files.ts";
import type { PackageOptions } from "./options.ts";

/** How `deno` runs every subcommand: nothing is asked or fetched, and no file of the user's folder is read. */
const FLAGS = [
  ...["run", "--quiet", "--no-prompt"],
  ...["--no-config", "--no-lock", "--no-npm", "--no-remote", "--cached-only"],
  // Under sudo, the cache can be the user's: code there would run as root.
  "--no-code-cache",
  `--v8-flags=${V8_FLAGS}`,
];

/** Makes `openme-VERSION.tgz`. */
export async function make(options: PackageOptions): Promise<string[]> {
  const { dist, version, epochSeconds } = options;
  const output = `${dist}/openme-${version}.tgz`;
  const work = await Deno.makeTempDir({ prefix: "openme-npm-" });
  try {
    await layOut(`${work}/package`, version);
    await archive(work, ["package"], { output, epochSeconds });
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return [output];
}

async function layOut(folder: string, version: string): Promise<void> {
  await copyFile("LICENSE", `${folder}/LICENSE`);
  await copyFile("packaging/npm/README.md", `${folder}/README.md`);
  const written = await readText("package.json");
  await writeFile(`${folder}/package.json`, renderJson({ ...JSON.parse(written), version }));
  await writeFile(`${folder}/openme.cjs`, await readText("openme.cjs"), 0o755);
  await writeFile(`${folder}/run.json`, renderJson(await howToRun()));
  await bundleOpenme(`${folder}/program`);
  for await (const { name } of Deno.readDir(`${folder}/program`)) {
    await Deno.chmod(`${folder}/program/${name}`, 0o644);
  }
  await Deno.chmod(`${folder}/program`, 0o755);
}

/** What openme.cjs has to know. */
async function howToRun() {
  const { unstable } = await readConfig();
  const rows = Object.entries({ ...COMMANDS, ...HIDDEN_COMMANDS });
  return {
    flags: [...FLAGS, ...unstable.map((name) => `--unstable-${name}`)],
    /** Flags that may stand before a subcommand with a value of their own. */
    valueFlags: [...flagsIn(GLOBAL_PARAMETERS)].filter(([, { value }]) => value !== undefined)
      .map(([name]) => `--${name}`),
    permissions: Object.fromEntries(rows.map(([name, { permissions }]) => {
      // main.ts reads the environment before it knows the subcommand.
      const needed = new Set(["env", ...permissions]);
      return [name, [...needed].map((each) => `--allow-${each}`)];
    })),
  };
}

function readText(name: string): Promise<string> {
  return Deno.readTextFile(`${ROOT}packaging/npm/${name}`);
}

function renderJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2) + "\n";
}

if (import.meta.main) {
  const [folder] = Deno.args;
  if (folder === undefined) throw new Error("expected FOLDER");
  await layOut(resolve(folder), VERSION);
}
