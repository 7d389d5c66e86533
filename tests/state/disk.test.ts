/** A disk that refuses while the server runs: memory goes on, the log says so once, and everything is written later. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { isUnwritten } from "../../lib/state/unwritten.ts";
import { Folder } from "../support/folder.ts";
import { skip } from "../support/programs.ts";
import { grantOf, NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { StillClock } from "../support/still_clock.ts";
import {
  contentOf,
  copyOfState,
  eventOf,
  knockRecord,
  open,
  type Opened,
  raiseWatermark,
  take,
} from "./support.ts";

/** Some knocks of some clients, from number `from` on; before the first, a watermark and a grant that will not stay. */
function takeSome(opened: Opened, from: number): void {
  if (from === 0) {
    raiseWatermark(opened, "d0", NOW_NS - WINDOW_NS);
    const opening = { grant: grantOf("dave"), renewed: false };
    take(opened, knockRecord(1000, { opened: opening }));
  }
  for (let n = from; n < from + 5; n++) {
    assert.equal(take(opened, knockRecord(n, { key: (n % 3).toString().repeat(64) })), "fresh");
  }
}

const GRANTS = [grantOf("alice"), grantOf("bob", "2001:db8::7")];

function tend({ store }: Opened): void {
  store.tend({ grants: GRANTS, replayWindowNs: WINDOW_NS });
}

/** That a restart, after a kill as well, finds all that the process knew. */
async function assertAllOnDisk(folder: Folder, opened: Opened, dir = folder.path): Promise<void> {
  assert.ok(opened.store.isSound());
  const killed = await copyOfState(dir, folder.file("killed"));
  using again = open(killed);
  assert.deepEqual(contentOf(again.replay), contentOf(opened.replay));
  assert.deepEqual(
    again.stored.grants.toSorted((a, b) => a.client.localeCompare(b.client)),
    GRANTS,
  );
  assert.deepEqual(again.events, []);
}

Deno.test("a write that fails is told once; memory goes on, and the next start counts the state as lost", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file("state"));
  using opened = open(folder.file("state"));
  opened.replay.raiseFloor(NOW_NS - WINDOW_NS);
  takeSome(opened, 0);

  const blocker = new DatabaseSync(folder.file("state/state.db"));
  blocker.exec("BEGIN IMMEDIATE");
  takeSome(opened, 10); // only the first write waits
  opened.store.forgetGrants(GRANTS);
  assert.deepEqual(opened.told(), ["error state_not_written"]);
  assert.match(String(eventOf(opened, "state_not_written").fields["error"]), /locked/);
  assert.ok(!opened.store.isSound());
  assert.equal(take(opened, knockRecord(10, { key: "1".repeat(64) })), "replay");
  assert.ok(isUnwritten(folder.file("state")));
  tend(opened);
  assert.ok(!opened.store.isSound());
  blocker.exec("ROLLBACK");
  blocker.close();
  {
    // Killed now: what is on disk is not the whole truth, and the next process knows.
    const killed = await copyOfState(folder.file("state"), folder.file("killed then"));
    const startNs = NOW_NS + 1_000_000_000n;
    using next = open(killed, { clock: new StillClock(startNs) });
    assert.deepEqual(next.told(), ["warn state_incomplete"]);
    assert.equal(next.replay.floorNs, startNs + WINDOW_NS);
  }

  tend(opened);
  assert.deepEqual(opened.told(), ["error state_not_written", "info state_written"]);
  assert.ok(!isUnwritten(folder.file("state")));
  takeSome(opened, 20);
  await assertAllOnDisk(folder, opened, folder.file("state"));
});

Deno.test("a folder that is taken away comes back with everything in it", async () => {
  await using folder = await Folder.create();
  const dir = folder.file("state");
  await Deno.mkdir(dir);
  using opened = open(dir);
  takeSome(opened, 0);
  await Deno.remove(dir, { recursive: true });
  takeSome(opened, 10);
  assert.ok(!opened.store.isSound());
  tend(opened);
  assert.equal((await Deno.stat(dir)).mode! & 0o777, 0o700);
  takeSome(opened, 20);
  await assertAllOnDisk(folder, opened, dir);
});

Deno.test("a folder that cannot be made again is tried until it can", async () => {
  await using folder = await Folder.create();
  const dir = folder.file("state");
  await Deno.mkdir(dir);
  using opened = open(dir);
  takeSome(opened, 0);
  await Deno.remove(dir, { recursive: true });
  await Deno.writeTextFile(dir, "a file in its place");
  for (let n = 0; n < 3; n++) tend(opened);
  takeSome(opened, 10);
  assert.ok(!opened.store.isSound());
  assert.deepEqual(opened.told().filter((line) => line.startsWith("info")), []);
  await Deno.remove(dir);
  tend(opened);
  assert.ok(opened.told().includes("info state_written"));
  await assertAllOnDisk(folder, opened, dir);
});

/** What may come to stand under the database's name while it is open. */
const IN_ITS_PLACE: { what: string; put: (path: string) => Promise<void> }[] = [
  { what: "nothing", put: () => Promise.resolve() },
  { what: "a copy of itself", put: (path) => Deno.copyFile(`${path}.old`, path) },
  { what: "garbage", put: (path) => Deno.writeTextFile(path, "garbage ".repeat(1000)) },
  { what: "an empty file", put: (path) => Deno.writeTextFile(path, "") },
];

for (const { what, put } of IN_ITS_PLACE) {
  Deno.test(`a database in whose place there is ${what} is written anew`, async () => {
    await using folder = await Folder.create();
    await Deno.mkdir(folder.file("state"));
    using opened = open(folder.file("state"));
    takeSome(opened, 0);
    const path = folder.file("state/state.db");
    await Deno.rename(path, `${path}.old`);
    await put(path);
    takeSome(opened, 10);
    assert.ok(!opened.store.isSound(), "what is open is not what its name leads to");
    tend(opened);
    takeSome(opened, 20);
    await assertAllOnDisk(folder, opened, folder.file("state"));
  });
}

Deno.test("a database that is damaged while it is open is moved aside and written anew", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file("state"));
  using opened = open(folder.file("state"));
  takeSome(opened, 0);
  const other = new DatabaseSync(folder.file("state/state.db"));
  other.exec("DROP TABLE nonces");
  other.close();
  takeSome(opened, 10);
  eventOf(opened, "state_not_written");
  assert.ok(!opened.store.isSound());
  tend(opened);
  takeSome(opened, 20);
  await assertAllOnDisk(folder, opened, folder.file("state"));
  const names = (await Array.fromAsync(Deno.readDir(folder.file("state")))).map(({ name }) => name);
  assert.ok(names.some((name) => name.startsWith("state.db.unreadable-")));
});

Deno.test("a stop writes the story of the last moment, too", async () => {
  await using folder = await Folder.create();
  using opened = open(folder.path);
  take(opened, knockRecord(1, { opened: { grant: GRANTS[0]!, renewed: false } }));
  opened.store.close();
  const database = new DatabaseSync(folder.file("state.db"), { readOnly: true });
  const [row] = database.prepare("SELECT count(*) AS n FROM history").all();
  database.close();
  assert.equal(row!["n"], 1);
});

Deno.test("a full disk stops nothing, and loses nothing once there is room", async (t) => {
  // A file system of 1 MB, in a mount namespace of the program's own.
  const script = fileURLToPath(new URL("./full_disk.ts", import.meta.url));
  const mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" run --quiet -A "$3" "$1"';
  await using folder = await Folder.create();
  const { code, stdout, stderr } = await new Deno.Command("unshare", {
    args: ["-rm", "sh", "-c", `${mount} || exit 77`, "sh", folder.path, Deno.execPath(), script],
    stdout: "piped",
    stderr: "piped",
  }).output().catch(() => ({ code: 77, stdout: new Uint8Array(), stderr: new Uint8Array() }));
  const output = new TextDecoder().decode(stdout);
  const cannot = code === 77 || /^unshare: /.test(new TextDecoder().decode(stderr));
  if (cannot) {
    return await skip(t, "needs unshare, and root or user namespaces");
  }
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const { told, before, after, sound } = JSON.parse(output);
  assert.deepEqual(told, ["error state_not_written", "info state_written"]);
  assert.deepEqual(sound, { full: false, afterwards: true });
  assert.deepEqual(after, { ...before, events: [] });
  assert.ok(before.entries.length > 100, String(before.entries.length));
});

Deno.test("writing everything anew is tried seldom where a try takes long", async () => {
  await using folder = await Folder.create();
  class SlowClock extends StillClock {
    override now() {
      this.steadyMs += 10; // each look at it: a try takes at least that
      return super.now();
    }
  }
  const dir = folder.file("state");
  await Deno.mkdir(dir);
  const clock = new SlowClock();
  using opened = open(dir, { clock });
  await Deno.remove(dir, { recursive: true });
  await Deno.writeTextFile(dir, "a file in its place");
  tend(opened);
  await Deno.remove(dir);
  tend(opened);
  assert.equal(opened.store.isSound(), false);
  clock.steadyMs += 60_000;
  tend(opened);
  assert.equal(opened.store.isSound(), true);
});
