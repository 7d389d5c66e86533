/**
 * The files of a small Linux without glibc: a static busybox, and what is unpacked there. Programs run in it by chroot, in
 * a namespace of a lab.
 */

import assert from "node:assert/strict";
import { type Lab, type Output, runToEnd, type Side } from "../e2e/lab.ts";
import { findProgram } from "../support/programs.ts";
import type { Program } from "../support/spawned.ts";

/** `ip netns exec` has mounts of its own: nobody else sees these. */
export const ENTER = 'for each in proc dev; do mount --rbind "/$each" "$0/$each" || exit; done; ' +
  'exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot "$0" "$@"';

/** Where the root's nft has its libraries; no loader looks there by itself. */
const NFT = "/opt/nft";

export class BusyboxRoot implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes the root, without any openme. */
  static async create(): Promise<BusyboxRoot> {
    const root = new BusyboxRoot(await Deno.makeTempDir({ prefix: "openme-root-" }));
    await Deno.chmod(root.path, 0o755);
    for (const folder of ["bin", "dev", "etc", "opt", "proc", "root", "run", "tmp", "usr/sbin"]) {
      await Deno.mkdir(`${root.path}/${folder}`, { recursive: true });
    }
    await Deno.copyFile(findProgram("busybox")!, `${root.path}/bin/busybox`);
    const install = ["/bin/busybox", "--install", "-s", "/bin"];
    const { code, stderr } = await runToEnd("chroot", [root.path, ...install]);
    assert.equal(code, 0, `busybox is to be static (Debian's busybox-static): ${stderr}`);
    return root;
  }

  /** Unpacks an archive as docs/any-linux.md says, by the root's own tar. */
  async unpack(archive: string): Promise<void> {
    const script = 'xz -dc "$1" | chroot "$0" tar -C / -xf -';
    const { code, stderr } = await runToEnd("sh", ["-c", script, this.path, archive]);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  }

  /** Gives the root the nft of this machine, whose glibc stays in a folder of its own. */
  async addNft(): Promise<void> {
    const program = findProgram("nft")!;
    const { stdout } = await runToEnd("ldd", [program]);
    const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path!);
    await Deno.mkdir(this.path + NFT);
    for (const path of [program, ...libraries]) {
      await Deno.copyFile(path, `${this.path}${NFT}/${path.slice(path.lastIndexOf("/") + 1)}`);
    }
    const loader = libraries.map((path) => path.slice(path.lastIndexOf("/") + 1))
      .find((name) => name.startsWith("ld-"))!;
    await this.write(
      "/usr/sbin/nft",
      `#!/bin/sh\nexec ${NFT}/${loader} --library-path ${NFT} ${NFT}/nft "$@"\n`,
      0o755,
    );
  }

  /** Writes a file. */
  async write(path: string, text: string, mode = 0o644): Promise<void> {
    await Deno.writeTextFile(this.path + path, text);
    await Deno.chmod(this.path + path, mode);
  }

  /** Runs a program of the root to its end, on one side of a lab. */
  output(lab: Lab, side: Side, command: readonly string[]): Promise<Output> {
    return lab.output(side, this.#inside(command));
  }

  /** The same, where it is to succeed: gives its standard output. */
  async run(lab: Lab, side: Side, command: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.output(lab, side, command);
    assert.equal(code, 0, `${command.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Starts a program of the root. */
  start(lab: Lab, side: Side, command: readonly string[]): Program {
    return lab.start(side, this.#inside(command));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Never into a mount, whatever a test has left.
    await runToEnd("rm", ["-rf", "--one-file-system", this.path]);
  }

  #inside(command: readonly string[]): string[] {
    return ["sh", "-c", ENTER, this.path, ...command];
  }
}
