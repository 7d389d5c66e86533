/** Where the state lies: behind a link, under a path that can be written in more than one way, or not at all. */

import assert from "node:assert/strict";
import { relative } from "node:path";
import { connectDatabase } from "../../lib/state/database.ts";
import { runPath } from "../../lib/state/unwritten.ts";
import { Folder } from "../support/folder.ts";
import { knockRecord, open, take } from "./support.ts";

Deno.test("a database behind a link is read, and stays where it is", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file("disk"));
  const dir = folder.file("state");
  await Deno.mkdir(dir);
  open(dir)[Symbol.dispose]();
  await Deno.rename(`${dir}/state.db`, folder.file("disk/state.db"));
  await Deno.symlink("../disk/state.db", `${dir}/state.db`);
  {
    using opened = open(dir);
    assert.deepEqual(opened.events, []);
    take(opened, knockRecord(1));
  }
  using again = open(dir);
  assert.deepEqual(again.events, []);
  assert.equal([...again.replay.entries()].length, 1);
  assert.ok((await Deno.lstat(`${dir}/state.db`)).isSymlink);
});

Deno.test("a state directory has one name in /run, however its path is written", async () => {
  await using folder = await Folder.create();
  const [dir, other] = [folder.file("state"), folder.file("other")];
  await Deno.mkdir(dir);
  await Deno.mkdir(other);
  await Deno.symlink("state", folder.file("link"));
  const fromHere = relative(Deno.cwd(), dir);
  for (const same of [`${dir}/`, `${other}/../state`, folder.file("link"), fromHere]) {
    assert.equal(runPath(same, "lock"), runPath(dir, "lock"), same);
  }
  assert.notEqual(runPath(other, "lock"), runPath(dir, "lock"));
});

Deno.test("a commit survives the death of the process, and does not wait for the disk", async () => {
  await using folder = await Folder.create();
  const database = connectDatabase(folder.file("state.db"));
  try {
    const read = (name: string) => Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {});
    assert.deepEqual(read("journal_mode"), ["wal"]);
    assert.deepEqual(read("synchronous"), [1]); // NORMAL; 2 is FULL: an fsync for every knock
  } finally {
    database.close();
  }
});
