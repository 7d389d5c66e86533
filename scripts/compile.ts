/**
 * `deno task compile`: dist/openme, one executable with its permissions baked in. Every subcommand gives up at its start
 * what it does not need (lib/cli/catalog.ts).
 *
 * The sources are bundled and minified first: the program is smaller and starts faster. The packages are those of
 * deno.lock and scripts/esbuild.lock, from Deno's cache, or from npm's registry where they are not in it yet.
 */

import { cp } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { UNITS } from "../lib/cli/setup/steps.ts";
import { print, run } from "./run.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Not in deno.json: Deno fetches all that is there, whatever runs. */
const ESBUILD = "npm:esbuild@0.25.10";

/** Modules of Node's that packages ask for with `require`. */
const REQUIRED = [
  ...["assert", "buffer", "crypto", "dns", "events", "net", "stream", "string_decoder"],
  ...["tls", "tty", "url", "util"],
];

/** The program's permissions. */
const PERMISSIONS = [
  "--allow-net",
  "--allow-read",
  "--allow-write",
  // With names, a compiled program looks up each at every start and complains about those missing.
  "--allow-run",
  "--allow-env",
  "--allow-sys",
  "--allow-ffi",
];

/**
 * V8's second compiler takes 4 MB, and an idle server does not need it: what has run ten times as often as by default is
 * hot, which a flood makes it in a fraction of a second.
 */
export const V8_FLAGS = "--invocation-count-for-maglev=4000,--invocation-count-for-maglev-osr=1000";

/** Makes openme, the executable `output`; throws where that fails. `env`: more variables for `deno compile`. */
export async function compileOpenme(
  output: string,
  env: Record<string, string> = {},
): Promise<void> {
  await compileBundle(bundleOpenme, output, env);
}

/** The same of a TypeScript file that imports nothing. */
export async function compile(main: string, output: string): Promise<void> {
  await compileBundle((dir) => bundle(main, dir), output);
}

/** Bundles openme into main.js, and a file for each part that is loaded late. The same sources give the same bytes. */
export async function bundleOpenme(dir: string): Promise<void> {
  await inTemporaryFolder(async (work) => {
    // esbuild names files by the paths of their sources as well: all of them have to lie in its current folder.
    for (const each of ["main.ts", "lib"]) {
      await cp(`${ROOT}/${each}`, `${work}/${each}`, { recursive: true });
    }
    await install(work);
    // A client starts the program for every knock, and each file takes time to load. So all that knock imports comes in
    // one file, and not in one for each set of commands that share it.
    await Deno.writeTextFile(`${work}/together.ts`, 'import "./lib/cli/commands/knock.ts";');
    // A bundle of modules has no `require`.
    for (const name of REQUIRED) {
      const text = `module.exports = process.getBuiltinModule("node:${name}");`;
      await Deno.writeTextFile(`${work}/${name}.cjs`, text);
    }
    const units = JSON.stringify(await readUnits());
    const flags = [
      "--inject:together.ts",
      ...REQUIRED.map((name) => `--alias:${name}=./${name}.cjs`),
      `--define:OPENME_UNITS=${units}`,
    ];
    await bundle("main.ts", dir, flags, work);
  });
}

async function compileBundle(
  make: (dir: string) => Promise<void>,
  output: string,
  env: Record<string, string> = {},
): Promise<void> {
  await inTemporaryFolder(async (dir) => {
    await make(dir);
    const { unstable } = await readConfig();
    await Deno.writeTextFile(`${dir}/deno.json`, JSON.stringify({ unstable }));
    // The program has the time of each file in it: one time for all, so that the same sources give the same program.
    for (const { name } of Deno.readDirSync(dir)) await Deno.utime(`${dir}/${name}`, 0, 0);
    // V8's code cache would be a file in /tmp with a known name: every user could put code there for root to run.
    const flags = ["--no-code-cache", `--v8-flags=${V8_FLAGS}`];
    await compileAsIs(`${dir}/main.js`, output, flags, env);
  });
}

/** The systemd units by name, which openme setup installs (lib/cli/setup/units.ts). */
async function readUnits(): Promise<Record<string, string>> {
  const texts = UNITS.map((name) => Deno.readTextFile(`${ROOT}/packaging/${name}`));
  return Object.fromEntries((await Promise.all(texts)).map((text, i) => [UNITS[i], text]));
}

/** The same without a bundle, from the files themselves. */
export async function compileAsIs(
  main: string,
  output: string,
  flags: string[] = [],
  env: Record<string, string> = {},
) {
  const quiet = ["--quiet", "--no-prompt", "--no-check"];
  await deno(["compile", ...quiet, ...PERMISSIONS, ...flags, "--output", output, main], {
    // Deno 2.6.10 overflows its stack (2 MB) over the packages, where they are not bundled.
    env: { RUST_MIN_STACK: String(16 * 1024 * 1024), ...env },
  });
}

/** Puts the packages of deno.lock into a folder. */
async function install(dir: string): Promise<void> {
  const { imports } = await readConfig();
  await Deno.writeTextFile(`${dir}/deno.json`, JSON.stringify({ imports, nodeModulesDir: "auto" }));
  await Deno.copyFile(`${ROOT}/deno.lock`, `${dir}/deno.lock`);
  await deno(["install", "--quiet", "--frozen", "--config", `${dir}/deno.json`]);
}

/** Bundles `main` with its imports. A dynamic import stays a file of its own, loaded late. */
async function bundle(
  main: string,
  dir: string,
  flags: readonly string[] = [],
  cwd = ROOT,
): Promise<void> {
  await deno(
    [
      "run",
      "--quiet",
      "-A",
      ...["--no-config", `--lock=${ROOT}/scripts/esbuild.lock`, "--frozen", ESBUILD],
      `main=${main}`,
      `--outdir=${dir}`,
      ...flags,
      "--bundle",
      "--minify",
      "--splitting",
      "--format=esm",
      "--target=esnext",
      "--platform=neutral",
      // Not what npm:yaml has for Node, which requires "process": a bundle has no such name.
      "--main-fields=module,main",
      "--external:node:*",
      "--log-level=warning",
    ],
    { cwd },
  );
}

export async function readConfig(): Promise<
  { imports: Record<string, string>; unstable: string[] }
> {
  return JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
}

async function deno(
  args: string[],
  { env, cwd }: { readonly env?: Record<string, string>; readonly cwd?: string } = {},
): Promise<void> {
  // Deno 2.6 trusts no certificates of the system unless told to.
  const stores = Deno.env.get("DENO_TLS_CA_STORE") ?? "mozilla,system";
  const code = await run(Deno.execPath(), args, { DENO_TLS_CA_STORE: stores, ...env }, cwd);
  if (code !== 0) throw new Error(`deno ${args[0]} failed`);
}

async function inTemporaryFolder(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "openme-compile-" });
  try {
    await work(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

if (import.meta.main) {
  try {
    await compileOpenme(`${ROOT}/dist/openme`);
  } catch (error) {
    print(`compile: ${(error as Error).message}`);
    print("compile: without Deno's download host, set DENORT_BIN to a denort of the same version");
    Deno.exit(1);
  }
}
