/** The packages under test: those in the folder that OPENME_PACKAGES names, as `deno task package` made them. */

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { runToEnd } from "../e2e/lab.ts";
import { unless } from "../support/programs.ts";
import { VERSION } from "../../lib/values/version.ts";

const folder = Deno.env.get("OPENME_PACKAGES");

/** The names that `task package` gives, on the architecture of this machine. */
export const NAMES = {
  deb: `openme_${VERSION}_${Deno.build.arch === "x86_64" ? "amd64" : "arm64"}.deb`,
  rpm: `openme-${VERSION}-1.${Deno.build.arch}.rpm`,
  arch: `openme-${VERSION}-1-${Deno.build.arch}.pkg.tar.zst`,
  tar: `openme-${VERSION}-linux-${Deno.build.arch}.tar.xz`,
  portable: `openme-${VERSION}-linux-portable-${Deno.build.arch}.tar.xz`,
  npm: `openme-${VERSION}.tgz`,
};

/** npm takes what is in its cache as it is, and says nothing of itself. */
export const NPM_ENV = {
  "npm_config_prefer_offline": "true",
  "npm_config_update_notifier": "false",
};

/** The path of a file that `task package` made. */
export function packagePath(name: string): string {
  return resolve(folder!, name);
}

/** Why packages cannot be tested here, or `undefined`. `programs`: what the test starts. */
export async function packagesMissing(...programs: string[]): Promise<string | undefined> {
  if (folder === undefined) return "needs OPENME_PACKAGES, as dist after deno task package";
  for (const program of programs) {
    const { code } = await runToEnd("sh", ["-c", 'command -v "$0"', program]);
    if (code !== 0) return `needs ${program}`;
  }
  return undefined;
}

/** Registers a test of packages. Where it cannot run it is skipped; with OPENME_E2E=require it fails. */
export async function testPackages(
  programs: readonly string[],
  title: string,
  fn: () => Promise<void>,
): Promise<void> {
  const missing = await packagesMissing(...programs);
  Deno.test({
    ...unless(missing, title),
    fn: async () => {
      assert.equal(missing, undefined, "OPENME_E2E=require, but this host cannot");
      await fn();
    },
  });
}

/** Runs a command to its end; gives its standard output. Rejects where it fails. */
export async function succeed(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await runToEnd(command[0]!, command.slice(1));
  assert.equal(code, 0, `${command.join(" ")}: ${stderr}${stdout.slice(-2000)}`);
  return stdout;
}

/** Lines of `tar -tv` as `mode owner path`, sorted by path, without `./` and folders that every system has. */
export function entriesOf(listing: string): string[] {
  return listing.trimEnd().split("\n").map((line) => {
    const [mode, owner, , , , ...path] = line.split(/ +/);
    const absolute = path.join(" ").replace(/^(\.?\/)?/, "/");
    return { path: absolute, mode, owner: owner!.replace(/^0\/0$/, "root/root") };
  }).filter(({ mode, path }) => !mode!.startsWith("d") || /openme/.test(path))
    .sort((a, b) => a.path < b.path ? -1 : 1)
    .map(({ mode, owner, path }) => `${mode} ${owner} ${path}`);
}

/** Higher than any. */
export const NEXT_VERSION = "99.0.0";

/** Makes a .deb of the same files with {@linkcode NEXT_VERSION}. Not compressed: that takes most of the time. */
export async function makeNext(output: string): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "openme-next-" });
  try {
    await succeed("dpkg-deb", "-R", packagePath(NAMES.deb), `${dir}/tree`);
    const control = `${dir}/tree/DEBIAN/control`;
    const text = await Deno.readTextFile(control);
    await Deno.writeTextFile(control, text.replace(/^Version: .*/m, `Version: ${NEXT_VERSION}`));
    await succeed("dpkg-deb", "-b", "-Znone", `${dir}/tree`, output);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
