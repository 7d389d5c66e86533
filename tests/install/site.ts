/** A folder to install into, a place with a release, and packaging/install.sh run between them. */

import assert from "node:assert/strict";
import { dirname } from "node:path";
import { Folder } from "../support/folder.ts";
import { findProgram, type ProgramName } from "../support/programs.ts";
import { Releases } from "./releases.ts";

export const SCRIPT = await Deno.readTextFile(
  new URL("../../packaging/install.sh", import.meta.url),
);
export const ARCH = Deno.build.arch;
export const VERSION = "1.2.3";
export const ORDINARY = `openme-${VERSION}-linux-${ARCH}.tar.xz`;
export const PORTABLE = `openme-${VERSION}-linux-portable-${ARCH}.tar.xz`;
export const LIBRARIES = "usr/lib/openme";
export const NEEDED: ProgramName[] = ["dash", "busybox", "curl", "wget", "xz", "setpriv"];
/** What the script starts, besides a shell and what fetches. */
const TOOLS = ["cat", "chmod", "cp", "dirname", "grep", "mkdir", "mktemp", "mv", "rm", "sed"]
  .concat(
    ["sha256sum", "tail", "tar", "tr", "uname", "wc", "xz"],
  );

/** A shell with the programs beside it. */
export interface Surroundings {
  readonly shell: readonly string[];
  readonly path: string;
}

/** A program that only says its version. */
export const program = (version: string) => `#!/bin/sh\necho "openme ${version}"\n`;

/** The bytes of an archive with these files, by their paths. */
export async function pack(files: Readonly<Record<string, string>>): Promise<Uint8Array> {
  await using folder = await Folder.create();
  for (const [path, text] of Object.entries(files)) {
    await Deno.mkdir(dirname(folder.file(`in/${path}`)), { recursive: true });
    await folder.write(`in/${path}`, text, 0o755);
  }
  const output = folder.file("archive.tar.xz");
  const { code } = await new Deno.Command("tar", {
    args: ["-C", folder.file("in"), "-cJf", output, "."],
  }).output();
  assert.equal(code, 0);
  return await Deno.readFile(output);
}

export const ordinary = (told = VERSION) =>
  pack({ [`openme-${VERSION}-linux-${ARCH}/bin/openme`]: program(told) });
export const portable = (told = VERSION) =>
  pack({ "usr/bin/openme": program(told), [`${LIBRARIES}/libc.so.6`]: told });

/** A place with a release, a folder to install into, and the ways to run the script. */
export class Site implements AsyncDisposable {
  readonly releases = new Releases();

  private constructor(readonly folder: Folder) {}

  static async create(): Promise<Site> {
    const site = new Site(await Folder.create());
    await Deno.chmod(site.folder.path, 0o755);
    await Deno.mkdir(site.folder.file("tmp"));
    await Deno.chmod(site.folder.file("tmp"), 0o777);
    await Deno.mkdir(site.folder.file("prefix"));
    site.releases.publish(VERSION, {
      [ORDINARY]: await ordinary(),
      [PORTABLE]: await portable(),
      "openme_1.2.3_amd64.deb": new Uint8Array(3),
    });
    return site;
  }

  get prefix(): string {
    return this.folder.file("prefix");
  }

  /** Debian's dash with the system's programs, and busybox with nothing else. */
  async surroundings(): Promise<Surroundings[]> {
    const applets = this.folder.file("applets");
    if (await Deno.stat(applets).catch(() => undefined) === undefined) {
      await Deno.mkdir(applets);
      const { code } = await new Deno.Command("busybox", { args: ["--install", "-s", applets] })
        .output();
      assert.equal(code, 0);
    }
    return [
      { shell: ["dash"], path: await this.tools("with-curl", ["curl"]) },
      { shell: ["dash"], path: await this.tools("with-wget", ["wget"]) },
      { shell: ["busybox", "sh"], path: applets },
    ];
  }

  /** A folder with the script's tools, and some programs more or in their place. */
  async tools(name: string, more: readonly string[], replaced: Record<string, string> = {}) {
    const path = this.folder.file(name);
    if (await Deno.stat(path).catch(() => undefined) !== undefined) return path;
    await Deno.mkdir(path);
    for (const tool of [...TOOLS, ...more]) {
      if (!Object.hasOwn(replaced, tool)) await Deno.symlink(findProgram(tool)!, `${path}/${tool}`);
    }
    for (const [tool, text] of Object.entries(replaced)) {
      await this.folder.write(`${name}/${tool}`, `#!/bin/sh\n${text}\n`, 0o755);
    }
    return path;
  }

  /** Runs a script as `curl ... | sh` does. */
  async run({ shell, path }: Surroundings, args: readonly string[] = [], {
    script = SCRIPT,
    through = [],
    env = {},
  }: {
    readonly script?: string;
    readonly through?: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
  } = {}) {
    const [command, ...rest] = [...through, findProgram(shell[0]!)!, ...shell.slice(1)];
    const child = new Deno.Command(command!, {
      args: [...rest, "-s", "--", ...args],
      clearEnv: true,
      env: {
        PATH: path,
        TMPDIR: this.folder.file("tmp"),
        PREFIX: this.prefix,
        OPENME_RELEASES: this.releases.url,
        ...env,
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(script)).catch(() => {});
    await writer.close().catch(() => {});
    const { code, stdout, stderr } = await child.output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** Everything below the prefix and the folder for temporary files. */
  async left(): Promise<string[]> {
    const found: string[] = [];
    const look = async (path: string) => {
      for await (const { name, isDirectory } of Deno.readDir(this.folder.file(path))) {
        found.push(`${path}/${name}`);
        if (isDirectory) await look(`${path}/${name}`);
      }
    };
    await look("prefix");
    await look("tmp");
    return found.sort();
  }

  /** That a run failed with a message, and left everything as it was. */
  async fails(
    where: Surroundings,
    message: RegExp,
    args: readonly string[] = [],
    options: Parameters<Site["run"]>[2] & { readonly code?: number } = {},
  ): Promise<void> {
    const before = await this.left();
    const { code, stdout, stderr } = await this.run(where, args, options);
    assert.match(stderr, message, `${where.shell}`);
    assert.match(stderr, /^install\.sh: error: /, stderr);
    assert.deepEqual({ code, stdout }, { code: options.code ?? 1, stdout: "" }, stderr);
    assert.deepEqual(await this.left(), before, stderr);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.releases[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}
