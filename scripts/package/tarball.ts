/**
 * The archive for any Linux with glibc: a folder laid out like /usr/local, so that its bin, lib and share can be copied
 * there.
 */

import { UNITS } from "../../lib/cli/setup/steps.ts";
import { archive } from "./archive.ts";
import { copyFile, FOR_METRICS, writePrinted } from "./files.ts";
import type { PackageOptions } from "./options.ts";

export const TEXTS = ["README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md"];

/** Makes `openme-VERSION-linux-ARCHITECTURE.tar.xz`. */
export async function make(options: PackageOptions): Promise<string[]> {
  const { program, dist, version, architecture, epochSeconds } = options;
  const name = `openme-${version}-linux-${architecture}`;
  const output = `${dist}/${name}.tar.xz`;
  const work = await Deno.makeTempDir({ prefix: "openme-tarball-" });
  try {
    const folder = `${work}/${name}`;
    await writePrinted(program, folder);
    for (const unit of UNITS) {
      await copyFile(`packaging/${unit}`, `${folder}/lib/systemd/system/${unit}`);
    }
    for (const [name, source] of Object.entries(FOR_METRICS)) {
      await copyFile(source, `${folder}/share/doc/openme/${name}`);
    }
    for (const text of TEXTS) await copyFile(text, `${folder}/${text}`);
    await Deno.mkdir(`${folder}/bin`);
    await Deno.copyFile(program, `${folder}/bin/openme`);
    for (const path of ["", "/bin", "/bin/openme"]) await Deno.chmod(folder + path, 0o755);
    await archive(work, [name], { output, epochSeconds });
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return [output];
}
