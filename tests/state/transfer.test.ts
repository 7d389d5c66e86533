/** What of the state goes into a backup, and how it joins the state of another server. */

import assert from "node:assert/strict";
import { readHistory, readSnapshot } from "../../lib/state/read.ts";
import { exportState, floorOfRestore, importState } from "../../lib/state/transfer.ts";
import { isUnwritten } from "../../lib/state/unwritten.ts";
import { Folder } from "../support/folder.ts";
import { grantOf, NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { StillClock } from "../support/still_clock.ts";
import { contentOf, knockRecord, knockTimeNs, open, raiseWatermark, take } from "./support.ts";

const NOW_MS = Number(NOW_NS / 1_000_000n);
const FLOOR_NS = NOW_NS + WINDOW_NS;
const ALL = { client: undefined, sinceMs: undefined, limit: 100 };

/** A state after some knocks, one of which has a grant; and one by a clock that is an hour ahead, taken by such a clock. */
function fill(dir: string): void {
  using opened = open(dir);
  take(opened, knockRecord(1, { opened: { grant: grantOf("alice"), renewed: false } }));
  take(opened, knockRecord(2));
  opened.store.flushHistory();
  const hourNs = 3_600_000_000_000n;
  opened.clock.wallNs += hourNs;
  raiseWatermark(opened, "c3".repeat(32), NOW_NS + hourNs);
  const late = { key: "b2".repeat(32), client: "bob", timestampNs: NOW_NS + hourNs };
  take(opened, knockRecord(3, { ...late, atMs: NOW_MS + 3_600_000 }));
}

Deno.test("history and last seen go along, grants do not, nonces only above the floor", async () => {
  await using folder = await Folder.create();
  const [from, to] = [folder.file("from"), folder.file("to")];
  for (const dir of [from, to]) await Deno.mkdir(dir);
  assert.equal(exportState(from, FLOOR_NS), undefined);
  fill(from);
  const state = exportState(from, FLOOR_NS)!;
  assert.equal(exportState(from, FLOOR_NS), state);
  const { nonces, watermarks, ...rest } = JSON.parse(state);
  assert.deepEqual(Object.keys(rest), ["last_seen", "keys", "history"]);
  assert.deepEqual([nonces.length, watermarks.length], [1, 1]);

  importState(to, state, { floorNs: FLOOR_NS, nowNs: NOW_NS });
  assert.deepEqual(readHistory(to, ALL), readHistory(from, ALL));
  const seen = readSnapshot(to, NOW_MS);
  assert.deepEqual(seen.lastSeenMs, readSnapshot(from, NOW_MS).lastSeenMs);
  assert.deepEqual(seen.grants, []);
  using opened = open(to, { clock: new StillClock() });
  assert.equal(opened.replay.floorNs, FLOOR_NS);
  assert.equal(contentOf(opened.replay).entries.length, 1);
  for (const n of [1, 2, 4]) assert.equal(take(opened, knockRecord(n)), "replay", `knock ${n}`);
  const late = { key: "b2".repeat(32), timestampNs: NOW_NS + 3_600_000_000_000n };
  assert.equal(take(opened, knockRecord(3, late)), "replay");
  assert.equal(take(opened, knockRecord(5, { timestampNs: FLOOR_NS + 1n })), "fresh");
});

Deno.test("a state that is there keeps what it has, and gets no row twice", async () => {
  await using folder = await Folder.create();
  const dir = folder.path;
  fill(dir);
  const state = exportState(dir, FLOOR_NS)!;
  {
    using opened = open(dir);
    opened.clock.wallNs += 1_000_000_000n;
    take(opened, knockRecord(7, { timestampNs: knockTimeNs(7), atMs: NOW_MS + 7 }));
  }
  const before = readHistory(dir, ALL);
  const higher = { floorNs: FLOOR_NS + 5n, nowNs: NOW_NS };
  importState(dir, state, higher);
  importState(dir, state, { floorNs: FLOOR_NS, nowNs: NOW_NS });
  assert.deepEqual(readHistory(dir, ALL), before);
  using opened = open(dir);
  assert.equal(opened.stored.grants.length, 1);
  assert.equal(opened.replay.floorNs, higher.floorNs, "a floor never sinks");
  assert.equal(take(opened, knockRecord(7)), "replay");
});

Deno.test("a later floor of the old server goes along", async () => {
  await using folder = await Folder.create();
  const [from, to] = [folder.file("from"), folder.file("to")];
  for (const dir of [from, to]) await Deno.mkdir(dir);
  importState(from, undefined, { floorNs: FLOOR_NS + 9n, nowNs: NOW_NS });
  importState(to, exportState(from, FLOOR_NS), { floorNs: FLOOR_NS, nowNs: NOW_NS });
  using opened = open(to);
  assert.equal(opened.replay.floorNs, FLOOR_NS + 9n);
});

Deno.test("rows that are none take nothing in; a damaged database is moved aside", async () => {
  await using folder = await Folder.create();
  const dir = folder.path;
  fill(dir);
  const before = readHistory(dir, ALL);
  const at = { floorNs: FLOOR_NS, nowNs: NOW_NS };
  for (
    const state of [
      "x",
      '{"history": [{}]}',
      '{"last_seen": [{"client": 1, "at_ms": "x"}]}',
    ] as const
  ) {
    assert.throws(() => importState(dir, state, at), { name: "OpenmeError", code: "STATE" });
    assert.equal(exportState(dir, 0n)!.includes("floor_ns"), false);
  }
  assert.deepEqual(readHistory(dir, ALL), before);
  await folder.write("state.db", "x".repeat(8192));
  await Promise.all(
    ["-wal", "-shm"].map((each) => Deno.remove(`${dir}/state.db${each}`).catch(() => {})),
  );
  assert.throws(() => importState(dir, "x", at));
  assert.ok(isUnwritten(dir), "the next start is not a first one");
  await folder.write("state.db", "x".repeat(8192));
  const { movedTo } = importState(dir, undefined, at);
  assert.ok(!isUnwritten(dir));
  assert.ok(movedTo?.startsWith(`${dir}/state.db.unreadable-`));
  using opened = open(dir);
  assert.equal(opened.replay.floorNs, FLOOR_NS);
});

Deno.test("the floor stands a window above the backup and the restore, whichever is later", () => {
  const [early, late] = [1_000, 2_000];
  for (const [madeAtMs, nowMs] of [[early, late], [late, early]] as const) {
    assert.equal(floorOfRestore({ madeAtMs, nowMs, replayWindowMs: 60_000 }), 62_000_000_000n);
  }
});

Deno.test("of a key's uses and codes the higher count stays, in a backup and beside one", async () => {
  await using folder = await Folder.create();
  const [from, to] = [folder.file("from"), folder.file("to")];
  for (const dir of [from, to]) await Deno.mkdir(dir);
  const use = (dir: string, key: string, n: number) => {
    using opened = open(dir);
    const keyRecord = { used: n, step: 10 * n, wrong: 5 - n, lockedUntilMs: 100 * n };
    take(opened, knockRecord(n, { key, keyRecord }));
  };
  const [one, other] = ["a1".repeat(32), "b2".repeat(32)];
  use(from, one, 2);
  use(from, other, 1);
  use(to, one, 1);
  use(to, other, 3);
  const state = exportState(from, FLOOR_NS)!;
  importState(to, state, { floorNs: FLOOR_NS, nowNs: NOW_NS });
  assert.deepEqual(readSnapshot(to, NOW_MS).uses, new Map([[one, 2], [other, 3]]));
  using opened = open(to);
  assert.deepEqual([one, other].map((key) => opened.store.recordOf(key)), [
    { used: 2, step: 20, wrong: 4, lockedUntilMs: 200 },
    { used: 3, step: 30, wrong: 4, lockedUntilMs: 300 },
  ]);
});
