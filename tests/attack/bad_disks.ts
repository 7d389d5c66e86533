/** State directories whose disk fails at a word: full, read-only, deleted. They are mounts where they have to be. */

import assert from "node:assert/strict";
import { runToEnd } from "../e2e/lab.ts";

/** A state directory on a disk of its own. Disposing of it takes the disk away. */
export interface BadDisk extends AsyncDisposable {
  /** From here on it fails, under whoever has files open there. */
  readonly fail: () => Promise<void>;
  /** It works again. */
  readonly mend: () => Promise<void>;
  /** Whether it can do so while somebody has files open there. */
  readonly mendsInUse: boolean;
}

/** The ways to fail. */
export const FAULTS = {
  full: fullDisk,
  "read-only": readOnlyDisk,
  deleted: deletedFolder,
} as const;
export type Fault = keyof typeof FAULTS;

/** Why a disk cannot become read-only here under a running program, or `undefined`. */
export async function readOnlyMissing(): Promise<string | undefined> {
  const dir = await Deno.makeTempDir({ prefix: "openme-disk-" });
  try {
    await Deno.mkdir(`${dir}/state`);
    await using disk = await readOnlyDisk(`${dir}/state`);
    await disk.fail();
    return undefined;
  } catch (error) {
    return `needs mkfs.ext4 and a loop device (${(error as Error).message.split("\n")[0]})`;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function run(file: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await runToEnd(file, args);
  assert.equal(code, 0, `${file} ${args.join(" ")}: ${stderr}`);
}

async function unmount(dir: string): Promise<void> {
  await runToEnd("umount", ["-l", dir]);
}

async function fullDisk(dir: string): Promise<BadDisk> {
  await run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", dir);
  const ballast = `${dir}/ballast`;
  return {
    fail: () => Deno.writeFile(ballast, new Uint8Array(2 ** 20)).catch(() => {}),
    mend: () => Deno.remove(ballast),
    mendsInUse: true,
    [Symbol.asyncDispose]: () => unmount(dir),
  };
}

/**
 * An ext4 that does to itself what it does when its disk errs (`abort`): with files open for writing nobody can remount
 * anything read-only from outside.
 */
async function readOnlyDisk(dir: string): Promise<BadDisk> {
  const image = `${dir}.img`;
  await Deno.writeFile(image, new Uint8Array(4 * 2 ** 20));
  await run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", image);
  const mount = async (file: string) => {
    await run("mount", "-o", "loop", file, dir);
    await Deno.chmod(dir, 0o700);
  };
  await mount(image);
  return {
    fail: async () => {
      await run("sync", "-f", dir);
      await run("mount", "-o", "remount,abort", dir);
    },
    mend: async () => {
      await unmount(dir);
      // Some other mount namespace may still have the old one, which is never written to again.
      await Deno.copyFile(image, `${image}.mended`);
      const { code, stdout } = await runToEnd("e2fsck", ["-f", "-y", `${image}.mended`]);
      assert.ok(code <= 1, stdout); // 1: something was mended
      await mount(`${image}.mended`);
    },
    mendsInUse: false,
    [Symbol.asyncDispose]: () => unmount(dir),
  };
}

function deletedFolder(dir: string): Promise<BadDisk> {
  return Promise.resolve({
    fail: () => Deno.remove(dir, { recursive: true }),
    mend: () => Promise.resolve(),
    mendsInUse: true,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}
