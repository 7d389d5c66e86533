/** A root tree of Debian 12 in which packages are installed, and a `systemctl` that stands in where none runs. */

import assert from "node:assert/strict";
import type { Lab, Output } from "../e2e/lab.ts";
import { makeTree } from "../boot/tree.ts";
import { succeed } from "./dist.ts";

/** Says of openme.service what is in /run/active, and writes down every call. */
const SYSTEMCTL = `#!/bin/sh
echo "$*" >> /run/systemctl.log
case $1 in is-active) [ -e /run/active ] ;; esac
`;

/** A Debian in a folder, whose network is that of the lab's server. */
export class Tree implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #dir: string;

  private constructor(lab: Lab, dir: string) {
    this.#lab = lab;
    this.#dir = dir;
  }

  static async create(lab: Lab): Promise<Tree> {
    const tree = new Tree(lab, await Deno.makeTempDir({ prefix: "openme-tree-" }));
    const ready = Deno.env.get("OPENME_BOOT_TREE");
    if (ready === undefined) await makeTree(tree.root);
    else await succeed("cp", "-a", "--reflink=auto", ready, tree.root);
    return tree;
  }

  get root(): string {
    return `${this.#dir}/root`;
  }

  /** Runs a line of sh as on a machine of its own: its process 1 has this root. */
  async output(line: string): Promise<Output> {
    const script = `mount -t proc proc /proc && { ${line}; }`;
    const enter = ["unshare", "--mount", "--pid", "--fork", "chroot", this.root];
    return await this.#lab.output("server", [...enter, "sh", "-c", script]);
  }

  async run(line: string): Promise<string> {
    const { code, stdout, stderr } = await this.output(line);
    assert.equal(code, 0, `${line}: ${stdout}${stderr}`);
    return stdout + stderr;
  }

  /** The command that becomes a program of the tree, on any side of the lab: signals reach it. */
  command(...args: string[]): string[] {
    const script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"';
    return ["unshare", "--mount", "sh", "-c", script, this.root, ...args];
  }

  async exists(path: string): Promise<boolean> {
    return await Deno.lstat(this.root + path).then(() => true, () => false);
  }

  /** From now on systemd seems to run. */
  async fakeSystemd(): Promise<void> {
    await Deno.mkdir(`${this.root}/run/systemd/system`, { recursive: true });
    await Deno.writeTextFile(`${this.root}/usr/bin/systemctl`, SYSTEMCTL);
    await Deno.chmod(`${this.root}/usr/bin/systemctl`, 0o755);
  }

  /** The calls of systemctl since the last time. */
  async systemctlCalls(): Promise<string[]> {
    const log = `${this.root}/run/systemctl.log`;
    const text = await Deno.readTextFile(log).catch(() => "");
    await Deno.writeTextFile(log, "");
    return text.split("\n").filter(Boolean);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#dir, { recursive: true });
  }
}

/** How a package's scripts ask {@linkcode Tree.fakeSystemd} whether the server runs. */
export const IS_ACTIVE = "is-active --quiet openme.service";
