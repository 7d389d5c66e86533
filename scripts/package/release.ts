/** The files of a release, from what the machines of .github/workflows/release.yml have built. */

import { resolve } from "node:path";
import { archive } from "./archive.ts";
import { copyFile, ROOT, writeFile } from "./files.ts";
import { type Library, writeBill } from "./sbom.ts";
import { writeSums } from "./sums.ts";
import { TEXTS } from "./tarball.ts";

/** The part of CHANGELOG.md about a version. Throws where the tag is another version's, or nothing is written about it. */
export function notesOf(tag: string, version: string, changelog: string): string {
  if (tag !== `v${version}`) {
    throw new Error(
      `the tag is ${tag}, lib/values/version.ts has ${version}: expected v${version}`,
    );
  }
  const [, ...sections] = changelog.split(/^## /m);
  const section = sections.find((each) => each.split(/\s/, 1)[0] === version);
  const notes = section?.replace(/^.*\n/, "").trim();
  if (!notes) throw new Error(`CHANGELOG.md has no section "## ${version}"`);
  return `${notes}\n`;
}

/** Where things are, and what they are called. */
export interface ReleaseOptions {
  /** A folder with linux-x86_64, linux-aarch64, macos-x86_64, macos-aarch64 and windows-x86_64. */
  readonly built: string;
  /** The folder for the release; it is made. */
  readonly output: string;
  /** OWNER/NAME on GitHub. */
  readonly repository: string;
  readonly version: string;
  readonly epochSeconds: number;
  readonly libraries: readonly Library[];
}

/** The names of all files of a release but SHA256SUMS. */
export function filesOf(version: string): string[] {
  const ofLinux = (["x86_64", "aarch64"] as const).flatMap((arch) => [
    `openme_${version}_${arch === "x86_64" ? "amd64" : "arm64"}.deb`,
    `openme-${version}-1.${arch}.rpm`,
    `openme-${version}-1-${arch}.pkg.tar.zst`,
    `openme-${version}-linux-${arch}.tar.xz`,
    `openme-${version}-linux-portable-${arch}.tar.xz`,
  ]);
  return [
    ...ofLinux,
    `openme-${version}-macos-aarch64.tar.gz`,
    `openme-${version}-macos-x86_64.tar.gz`,
    `openme-${version}-windows-x86_64.zip`,
    `openme-${version}.tgz`,
    "install.sh",
    "openme.cdx.json",
  ].sort();
}

/** Puts the files of a release into a folder, with SHA256SUMS. Throws where one is missing, or one more is there. */
export async function assemble(given: ReleaseOptions): Promise<void> {
  const options = { ...given, output: resolve(given.output) };
  const { built, output, version, epochSeconds, libraries } = options;
  await Deno.mkdir(output);
  for (const folder of ["linux-x86_64", "linux-aarch64"]) {
    for await (const { name } of Deno.readDir(`${built}/${folder}`)) {
      await Deno.copyFile(`${built}/${folder}/${name}`, `${output}/${name}`);
    }
  }
  const work = await Deno.makeTempDir({ prefix: "openme-release-" });
  try {
    for (const arch of ["x86_64", "aarch64"]) await packMacos(work, arch, options);
    await packWindows(work, options);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  await writeFile(`${output}/install.sh`, await installScript(options));
  await writeBill(`${output}/openme.cdx.json`, { version, epochSeconds, libraries });
  const found = [...Deno.readDirSync(output)].map(({ name }) => name).sort();
  const expected = filesOf(version);
  const wrong = [
    ...expected.filter((name) => !found.includes(name)).map((name) => `${name} is missing`),
    ...found.filter((name) => !expected.includes(name)).map((name) => `${name} is not expected`),
  ];
  if (wrong.length > 0) throw new Error(wrong.join(", "));
  await writeSums(output, found.map((name) => `${output}/${name}`));
}

/** The archive for macOS is that for Linux with another program, and without systemd's units. */
async function packMacos(work: string, arch: string, options: ReleaseOptions): Promise<void> {
  const { built, output, version, epochSeconds } = options;
  const linux = `openme-${version}-linux-x86_64`;
  const name = `openme-${version}-macos-${arch}`;
  await must("tar", ["-C", work, "-xJf", `${output}/${linux}.tar.xz`]);
  await Deno.rename(`${work}/${linux}`, `${work}/${name}`);
  await Deno.remove(`${work}/${name}/lib`, { recursive: true });
  await writeFile(
    `${work}/${name}/bin/openme`,
    await Deno.readFile(`${built}/macos-${arch}/openme`),
    0o755,
  );
  await archive(work, [name], { output: `${output}/${name}.tar.gz`, epochSeconds });
}

async function packWindows(work: string, options: ReleaseOptions): Promise<void> {
  const { built, output, version, epochSeconds } = options;
  const name = `openme-${version}-windows-x86_64`;
  const program = await Deno.readFile(`${built}/windows-x86_64/openme.exe`);
  await writeFile(`${work}/${name}/openme.exe`, program, 0o755);
  for (const text of TEXTS) await copyFile(text, `${work}/${name}/${text}`);
  const paths = ["openme.exe", ...TEXTS].map((path) => `${name}/${path}`).sort();
  for (const path of paths) await Deno.utime(`${work}/${path}`, epochSeconds, epochSeconds);
  // A zip has local times, and without -X the ids of owners.
  await must("zip", ["-qX", `${output}/${name}.zip`, ...paths], { cwd: work, env: { TZ: "UTC" } });
}

/** The script as it is attached: it knows its repository and its version. */
async function installScript({ repository, version }: ReleaseOptions): Promise<string> {
  if (!/^[\w.-]+\/[\w.-]+$/.test(repository)) {
    throw new Error(`expected OWNER/NAME, got ${repository}`);
  }
  const text = await Deno.readTextFile(`${ROOT}packaging/install.sh`);
  const filled = text.replaceAll("OWNER/openme", repository)
    .replace("version=latest ", `version=${version} `);
  if (!filled.includes(`version=${version} `) || filled.includes("OWNER/openme")) {
    throw new Error("packaging/install.sh has no place for the version");
  }
  return filled;
}

async function must(program: string, args: string[], options: Deno.CommandOptions = {}) {
  const { success } = await new Deno.Command(program, { ...options, args }).spawn().status;
  if (!success) throw new Error(`${program} failed`);
}
