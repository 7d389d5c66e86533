/** Databases that cannot be read: moved aside, never deleted, and made up for by a floor. Nothing is lost in silence. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { ReplayMemory } from "../../lib/replay.ts";
import { Folder } from "../support/folder.ts";
import { grantOf, NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { StillClock } from "../support/still_clock.ts";
import { contentOf, eventOf, knockRecord, open, type Opened, take } from "./support.ts";

const START_NS = NOW_NS + 1_000_000_000n;
const KNOCKS = 150;

/** The file of a database with some hundred rows, after a clean stop. */
async function goodDatabase(): Promise<Uint8Array> {
  await using folder = await Folder.create();
  {
    using opened = open(folder.path);
    for (let n = 0; n < KNOCKS; n++) {
      const grant = grantOf(`client-${n}`, `10.0.0.${n % 250 + 1}`);
      const key = (n % 3).toString().repeat(64);
      take(opened, knockRecord(n, { key, opened: { grant, renewed: false } }));
    }
  }
  return await Deno.readFile(folder.file("state.db"));
}

const GOOD = await goodDatabase();
const PAGE_SIZE = new DataView(GOOD.buffer).getUint16(16);
const PAGES = GOOD.length / PAGE_SIZE;

/** A state directory with this database. */
async function folderWith(bytes: Uint8Array): Promise<Folder> {
  const folder = await Folder.create();
  await folder.write("state.db", bytes);
  return folder;
}

/** That the old database is beside the new one, byte for byte, and that a floor stands in for it. */
async function assertMovedAside(folder: Folder, opened: Opened, bytes: Uint8Array): Promise<void> {
  const names = await folder.names();
  const aside = names.filter((name) => /^state\.db\.unreadable-\d{8}T\d{6}Z$/.test(name));
  assert.equal(aside.length, 1, names.join(" "));
  // SQLite takes a file without a header for an empty database.
  if (bytes.length > 1) {
    assert.ok(isSame(await Deno.readFile(folder.file(aside[0]!)), bytes), "it has been changed");
  }
  const { level, fields } = eventOf(opened, "state_unreadable");
  assert.equal(level, "warn");
  assert.equal(fields["moved_to"], folder.file(aside[0]!));
  assert.ok(String(fields["error"]).length > 0);
  assert.equal(
    fields["refusing_knocks_until"],
    new Date(Number((START_NS + WINDOW_NS) / 1_000_000n)).toISOString(),
  );
  assert.equal(opened.replay.floorNs, START_NS + WINDOW_NS);
  assert.deepEqual(opened.stored.grants, []);
  assert.ok(opened.store.isSound());
}

/** That the new database works, and keeps the floor. */
function assertGoesOn(folder: Folder, opened: Opened): void {
  const timestampNs = START_NS + WINDOW_NS;
  opened.clock.wallNs = START_NS + 2n * WINDOW_NS;
  assert.equal(take(opened, knockRecord(1000, { timestampNs })), "replay");
  assert.equal(take(opened, knockRecord(1001, { timestampNs: timestampNs + 1n })), "fresh");
  const before = contentOf(opened.replay);
  opened.store.close();
  using again = open(folder.path, { clock: new StillClock(START_NS + 1n) });
  assert.deepEqual(contentOf(again.replay), before);
  assert.equal(again.replay.floorNs, START_NS + WINDOW_NS);
  assert.deepEqual(again.events, []);
}

function openAtStart(folder: Folder): Opened {
  return open(folder.path, { clock: new StillClock(START_NS) });
}

Deno.test("the good database is good", async () => {
  assert.equal(GOOD.length % PAGE_SIZE, 0);
  assert.ok(PAGES >= 8, `${PAGES} pages`);
  await using folder = await folderWith(GOOD);
  using opened = openAtStart(folder);
  assert.deepEqual(opened.events, []);
  assert.equal([...opened.replay.entries()].length, KNOCKS);
  assert.equal(opened.stored.grants.length, KNOCKS);
  assert.equal(opened.replay.floorNs, undefined);
});

const text = new TextEncoder();
const UNREADABLE: { why: string; bytes: Uint8Array }[] = [
  { why: "is garbage", bytes: text.encode("this is not a database\n".repeat(1000)) },
  { why: "is one byte", bytes: Uint8Array.of(0) },
  { why: "is all zeros", bytes: new Uint8Array(8192) },
  { why: "is empty", bytes: new Uint8Array() },
  ...[16, 99, 100, 512, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, GOOD.length / 2]
    .map((size) => ({ why: `ends after ${size} bytes`, bytes: GOOD.slice(0, size) })),
  { why: "begins in the middle", bytes: GOOD.slice(PAGE_SIZE) },
  { why: "has a page of zeros", bytes: withPage(2, new Uint8Array(PAGE_SIZE)) },
  { why: "has a page twice", bytes: withPage(2, GOOD.slice(3 * PAGE_SIZE, 4 * PAGE_SIZE)) },
];

function withPage(page: number, content: Uint8Array): Uint8Array {
  const bytes = GOOD.slice();
  bytes.set(content, page * PAGE_SIZE);
  return bytes;
}

for (const { why, bytes } of UNREADABLE) {
  Deno.test(`a database that ${why} is moved aside, and replays are refused`, async () => {
    await using folder = await folderWith(bytes);
    using opened = openAtStart(folder);
    await assertMovedAside(folder, opened, bytes);
    assertGoesOn(folder, opened);
  });
}

/** Well-formed databases that are not, or no longer, what openme made. */
const WRONG_TABLES = [
  ...["meta", "nonces", "watermarks", "grants", "last_seen", "history"].map((table) => ({
    why: `has no table ${table}`,
    sql: `DROP TABLE ${table}`,
  })),
  ...["nonces", "grants", "last_seen", "history"].map((table) => ({
    why: `has other columns in ${table}`,
    sql: `DROP TABLE ${table}; CREATE TABLE ${table} (something TEXT) STRICT`,
  })),
  { why: "is another program's", sql: "PRAGMA user_version = 0" },
  { why: "has a grant without an address", sql: "UPDATE grants SET address = 'home'" },
  { why: "has a grant to no ports", sql: "UPDATE grants SET ports = '22/tcp nonsense'" },
  { why: "has a grant to too many ports", sql: "UPDATE grants SET ports = '0-65536/tcp'" },
  {
    why: "has a floor that is none",
    sql: "INSERT OR REPLACE INTO meta VALUES ('floor_ns', 'high')",
  },
];

for (const { why, sql } of WRONG_TABLES) {
  Deno.test(`a database that ${why} is moved aside, and replays are refused`, async () => {
    await using folder = await folderWith(GOOD);
    const database = new DatabaseSync(folder.file("state.db"));
    database.exec(`${sql}; PRAGMA wal_checkpoint(TRUNCATE)`);
    database.close();
    const bytes = await Deno.readFile(folder.file("state.db"));
    using opened = openAtStart(folder);
    await assertMovedAside(folder, opened, bytes);
    assertGoesOn(folder, opened);
  });
}

Deno.test("a database whose write-ahead log is lost before anything came out of it is moved aside", async () => {
  await using folder = await Folder.create();
  using running = open(folder.path);
  take(running, knockRecord(1));
  // All that is in the file itself is a header: the rest waits in the log.
  const bytes = await Deno.readFile(folder.file("state.db"));
  assert.ok(bytes.length > 0);
  await using bare = await folderWith(bytes);
  using opened = openAtStart(bare);
  await assertMovedAside(bare, opened, bytes);
  assertGoesOn(bare, opened);
});

Deno.test("nothing of a database that is moved aside counts", async () => {
  await using folder = await folderWith(GOOD);
  const database = new DatabaseSync(folder.file("state.db"));
  // A watermark of the far future would shut the client out for good.
  database.exec(`
    INSERT INTO watermarks VALUES ('alice', ${2n ** 63n - 1n});
    UPDATE grants SET address = 'nowhere'`);
  database.close();
  using opened = openAtStart(folder);
  eventOf(opened, "state_unreadable");
  assert.deepEqual(contentOf(opened.replay), {
    entries: [],
    watermarks: [],
    floorNs: START_NS + WINDOW_NS,
    beganNs: undefined,
  });
});

Deno.test("a start that is killed after it moved a database aside leaves the next one the same floor", async () => {
  await using folder = await folderWith(text.encode("no database"));
  const { prototype } = ReplayMemory;
  const { raiseFloor } = prototype;
  prototype.raiseFloor = () => {
    throw new Error("killed");
  };
  try {
    assert.throws(() => openAtStart(folder), /killed/);
  } finally {
    prototype.raiseFloor = raiseFloor;
  }
  using opened = openAtStart(folder);
  assert.deepEqual(opened.told(), ["warn state_incomplete"]);
  assert.equal(opened.replay.floorNs, START_NS + WINDOW_NS);
});

Deno.test("two databases that are moved aside in one moment are both kept", async () => {
  await using folder = await folderWith(text.encode("the first"));
  openAtStart(folder)[Symbol.dispose]();
  for (const name of await folder.names()) {
    if (/^state\.db(-wal|-shm)?$/.test(name)) await Deno.remove(folder.file(name));
  }
  await folder.write("state.db", "the second");
  openAtStart(folder)[Symbol.dispose]();
  const aside = (await folder.names()).filter((name) => name.includes("unreadable"));
  const texts = await Promise.all(aside.map((name) => folder.read(name)));
  assert.deepEqual(texts.sort(), ["the first", "the second"]);
});

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
