/** Files that hold secrets: what is on disk, and in which order it gets there. */

import assert from "node:assert/strict";
import { createSecretFile, replaceFile } from "../../lib/system/write_file.ts";
import { Folder } from "../support/folder.ts";

/** What `work` does with files, in its order: every call that decides what a power cut leaves. */
async function traced(folder: string, work: () => Promise<void>): Promise<string[]> {
  const { open, rename, link } = Deno;
  const { sync, write } = Deno.FsFile.prototype;
  const names = new WeakMap<Deno.FsFile, string>();
  const calls: string[] = [];
  const short = (path: string | URL) =>
    String(path).replace(folder, "").replace(/\.[0-9a-f]{8}\.tmp$/, ".tmp") || "the folder";
  try {
    Deno.open = async (path, options) => {
      const file = await open(path, options);
      names.set(file, short(path));
      return file;
    };
    Deno.rename = (from, to) => {
      calls.push(`rename ${short(from)} to ${short(to)}`);
      return rename(from, to);
    };
    Deno.link = (from, to) => {
      calls.push(`link ${short(from)} as ${short(to)}`);
      return link(from, to);
    };
    Deno.FsFile.prototype.write = function (bytes) {
      calls.push(`write ${names.get(this)}`);
      return write.call(this, bytes);
    };
    Deno.FsFile.prototype.sync = function () {
      calls.push(`sync ${names.get(this)}`);
      return sync.call(this);
    };
    await work();
  } finally {
    Object.assign(Deno, { open, rename, link });
    Object.assign(Deno.FsFile.prototype, { sync, write });
  }
  return calls;
}

Deno.test("replaceFile() syncs the new file before the rename, and the folder after it", async () => {
  await using folder = await Folder.create();
  const path = await folder.write("a", "old");
  assert.deepEqual(await traced(folder.path, () => replaceFile(path, "new")), [
    "write /a.tmp",
    "sync /a.tmp",
    "rename /a.tmp to /a",
    "sync the folder",
  ]);
  assert.equal(await folder.read("a"), "new");
});

Deno.test("createSecretFile() syncs the new file before it has its name, and the folder after it", async () => {
  await using folder = await Folder.create();
  const path = folder.file("a");
  const calls = await traced(
    folder.path,
    () => createSecretFile(path, "new", { existsHint: "", makeFolder: false }),
  );
  assert.deepEqual(calls, [
    "write /a.tmp",
    "sync /a.tmp",
    "link /a.tmp as /a",
    "sync the folder",
  ]);
  assert.deepEqual(await folder.names(), ["a"]);
});
