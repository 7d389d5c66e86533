/** The plan of the guard in the database: written with and without a server, and kept through all that a state survives. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { recordGuard } from "../../lib/state/guard_record.ts";
import { refreshMark, removeMark, volatilePath, writeMark } from "../../lib/state/mark.ts";
import { isOwnName } from "../../lib/state/names.ts";
import { Folder } from "../support/folder.ts";
import { knockRecord, open, take } from "./support.ts";

Deno.test("what openme guard writes down is there at the next start, which still is a first one", async () => {
  await using folder = await Folder.create();
  recordGuard(folder.path, "one");
  recordGuard(folder.path, "two");
  {
    using opened = open(folder.path);
    assert.deepEqual(opened.stored, { grants: [], sameBoot: false, guard: "two" });
    assert.deepEqual(opened.events, []);
    assert.equal(opened.replay.floorNs, undefined);
    take(opened, knockRecord(1));
    opened.store.recordGuard("three");
  }
  recordGuard(folder.path, "four");
  using again = open(folder.path);
  assert.equal(again.stored.guard, "four");
  assert.deepEqual(again.events, []);
  assert.equal([...again.replay.entries()].length, 1, "nothing else is touched");
});

Deno.test("nothing is written into a state that is not whole: that is for the next serve to see", async () => {
  await using folder = await Folder.create();
  using _ = open(folder.path);
  _.store.close();
  await Deno.remove(folder.file("intact"));
  assert.throws(() => recordGuard(folder.path, "x"), /not whole/);
  await Deno.remove(folder.file("state.db"));
  recordGuard(folder.path, "x"); // as new
  for (const name of ["state.db", "intact"]) await Deno.remove(folder.file(name));
  writeMark(folder.path, "running");
  try {
    assert.throws(() => recordGuard(folder.path, "x"), /not whole/);
  } finally {
    removeMark(folder.path);
  }
});

Deno.test("the plan outlives a database that is taken away under the server", async () => {
  await using folder = await Folder.create();
  const dir = folder.file("state");
  await Deno.mkdir(dir);
  {
    using opened = open(dir);
    opened.store.recordGuard("kept");
    await Deno.remove(dir, { recursive: true });
    opened.store.tend({ grants: [], replayWindowNs: 60_000_000_000n });
    assert.ok(opened.store.isSound());
  }
  using again = open(dir);
  assert.equal(again.stored.guard, "kept");
});

Deno.test("a changed plan in the file is damage", async () => {
  await using folder = await Folder.create();
  recordGuard(folder.path, "one");
  const database = new DatabaseSync(folder.file("state.db"));
  database.exec("UPDATE meta SET value = 'other' WHERE name = 'guard'");
  database.close();
  using opened = open(folder.path);
  assert.equal(opened.stored.guard, "");
  assert.deepEqual(opened.told(), ["warn state_unreadable"]);
});

Deno.test("a start removes the marks of folders that are gone, and no others", async () => {
  await using folder = await Folder.create();
  const [gone, hidden, kept, own] = ["gone", "hidden", "kept", "own"].map((name) =>
    folder.file(name)
  );
  for (const dir of [gone!, hidden!, kept!, own!]) {
    await Deno.mkdir(dir);
    writeMark(dir, "running");
    const old = new Date(Date.now() - 2 * 86_400_000);
    await Deno.utime(volatilePath(dir, "state"), old, old);
  }
  // A server that lives where this process cannot see its folder.
  refreshMark(hidden!);
  await Deno.remove(hidden!);
  const markOf = (dir: string) =>
    Deno.lstat(volatilePath(dir, "state")).then(() => true, () => false);
  const lock = volatilePath(gone!, "lock");
  await Deno.writeTextFile(lock, "");
  await Deno.remove(gone!, { recursive: true });
  try {
    using _ = open(own!);
    assert.deepEqual(
      await Promise.all([gone!, hidden!, kept!, own!].map(markOf)),
      [false, true, true, true],
    );
    await assert.rejects(Deno.lstat(lock));
    // What somebody else has written there says nothing of a folder, and is the worst for its own.
    await Deno.writeTextFile(volatilePath(kept!, "state"), "what?");
    using other = open(kept!);
    assert.deepEqual(other.told(), ["warn state_incomplete"]);
  } finally {
    for (const dir of [gone!, hidden!, kept!, own!]) removeMark(dir);
  }
});

Deno.test("names that are openme's, and some that are not", () => {
  for (
    const name of ["state.db", "state.db-wal", "state.db.unreadable-20260101T000000Z", "lock"]
      .concat("lock-journal", "intact", ".probe", "control.sock", "opened.json", "dry-run-a1b2")
  ) assert.ok(isOwnName(name), name);
  for (const name of ["unconfirmed", "guard.json", "config.yaml", "intact.mine", "my.lock", ""]) {
    assert.ok(!isOwnName(name), name);
  }
});
