/**
 * `deno task package [--program FILE] [KIND...]`: compiles dist/openme, then makes packages of it in dist/, all kinds or
 * those that are named, and dist/SHA256SUMS of them. `--program` packs an openme that is compiled already. The same
 * commit gives the same bytes, in any folder and at any time.
 */

import { fileURLToPath } from "node:url";
import { VERSION } from "../lib/values/version.ts";
import { compileOpenme } from "./compile.ts";
import * as nfpm from "./package/nfpm.ts";
import * as npm from "./package/npm.ts";
import { type Make, type PackageOptions, sourceEpochSeconds } from "./package/options.ts";
import * as portable from "./package/portable.ts";
import { writeSums } from "./package/sums.ts";
import * as tarball from "./package/tarball.ts";
import { print } from "./run.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const KINDS: Readonly<Record<string, Make>> = {
  deb: nfpm.makeDeb,
  rpm: nfpm.makeRpm,
  arch: nfpm.makeArch,
  npm: npm.make,
  tar: tarball.make,
  portable: portable.make,
};

/** Makes some kinds of packages; returns the paths of their files. */
async function makePackages(kinds: readonly string[], program?: string): Promise<string[]> {
  const dist = `${ROOT}dist`;
  await Deno.mkdir(dist, { recursive: true });
  // The package for npm has the bundle alone.
  if (program === undefined && kinds.some((kind) => kind !== "npm")) {
    await compileOpenme(`${dist}/openme`);
  }
  const options: PackageOptions = {
    program: program ?? `${dist}/openme`,
    dist,
    version: VERSION,
    architecture: Deno.build.arch,
    epochSeconds: await sourceEpochSeconds(ROOT),
  };
  const made: string[] = [];
  for (const kind of kinds) made.push(...await KINDS[kind]!(options));
  await writeSums(dist, made);
  return made;
}

if (import.meta.main) {
  const args = [...Deno.args];
  const at = args.indexOf("--program");
  const program = at < 0 ? undefined : args.splice(at, 2)[1];
  const unknown = args.find((kind) => !Object.hasOwn(KINDS, kind));
  if (unknown !== undefined || at >= 0 && program === undefined) {
    const kinds = Object.keys(KINDS).join("|");
    print(`package: expected [--program FILE] [${kinds}...], got ${Deno.args.join(" ")}`);
    Deno.exit(2);
  }
  try {
    const kinds = args.length > 0 ? args : Object.keys(KINDS);
    for (const path of await makePackages(kinds, program)) print(path);
  } catch (error) {
    print(`package: ${(error as Error).message}`);
    Deno.exit(1);
  }
}
