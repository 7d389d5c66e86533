/** The plan of the guard in the database: written with and without a server, and kept through all that a state survives. */

import assert from "node:assert/strict";
import { recordGuard } from "../../lib/state/guard_record.ts";
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
    take(opened, knockRecord(1));
    opened.store.recordGuard("three");
  }
  recordGuard(folder.path, "four");
  using again = open(folder.path);
  assert.equal(again.stored.guard, "four");
  assert.deepEqual(again.events, []);
  assert.equal([...again.replay.entries()].length, 1, "nothing else is touched");
});

Deno.test("nothing is written into a damaged database: the next serve moves it aside", async () => {
  await using folder = await Folder.create();
  await folder.write("state.db", "no database ".repeat(999));
  assert.throws(() => recordGuard(folder.path, "x"), /not a database/);
  using opened = open(folder.path);
  assert.deepEqual(opened.told(), ["warn state_unreadable"]);
  assert.equal(opened.stored.guard, "");
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

Deno.test("names that are openme's, and some that are not", () => {
  for (
    const name of ["state.db", "state.db-wal", "state.db.unreadable-20260101T000000Z", "lock"]
      .concat("lock-journal", "unwritten", ".probe", "control.sock", "opened.json", "dry-run-a1b2")
  ) assert.ok(isOwnName(name), name);
  for (
    const name of ["unconfirmed", "guard.json", "config.yaml", "unwritten.mine", "my.lock", ""]
  ) {
    assert.ok(!isOwnName(name), name);
  }
});
