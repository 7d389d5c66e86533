/** The runtime that `deno compile` puts under a program. */

import { capture, run } from "../run.ts";
import { compileAsIs } from "../compile.ts";

/**
 * Copies it to `path`: the file that DENORT_BIN names, or else what Deno has downloaded for its first `deno compile`, a zip
 * in its cache. Needs python3 for that. Throws where there is none.
 */
export async function copyBase(path: string): Promise<void> {
  const given = Deno.env.get("DENORT_BIN");
  if (given !== undefined) return await Deno.copyFile(given, path);
  const info = await capture(Deno.execPath(), ["info", "--json"]);
  const { denoDir } = JSON.parse(info ?? "{}");
  const name = `denort-${Deno.build.target}.zip`;
  const zip = `${denoDir}/dl/release/v${Deno.version.deno}/${name}`;
  const work = await Deno.makeTempDir({ prefix: "openme-base-" });
  try {
    if (!await Deno.stat(zip).then(() => true, () => false)) {
      await Deno.writeTextFile(`${work}/empty.ts`, "");
      await compileAsIs(`${work}/empty.ts`, `${work}/empty`); // downloads it
    }
    const code = await run("python3", ["-m", "zipfile", "-e", zip, work]);
    if (code !== 0) throw new Error(`python3 could not unpack ${zip}`);
    await Deno.copyFile(`${work}/denort`, path);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}
