/**
 * Bits that turn over anywhere in what is on disk: database, write-ahead log, witness. Never is a knock that was taken
 * fresh again, and never does a grant go on that was not there. `OPENME_FLIP_SEED` repeats a run.
 */

import assert from "node:assert/strict";
import { Random } from "../attack/random.ts";
import { Folder } from "../support/folder.ts";
import { DAY_NS, grantOf, NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { StillClock } from "../support/still_clock.ts";
import { copyOfState, knockRecord, nonce, open, take } from "./support.ts";

const SEED = Number(
  Deno.env.get("OPENME_FLIP_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0],
);
/** How long each kind of damage is tried, and how often at least. */
const FOR_MS = 3000;
const AT_LEAST = 40;

const KNOCKS = 150;
const START_NS = NOW_NS + 1_000_000_000n;
const keyOf = (n: number) => (n % 3).toString().repeat(64);
const GRANTS = Array.from({ length: 20 }, (_, n) => grantOf(`client-${n}`, `10.0.0.${n + 1}`));

type Files = ReadonlyMap<string, Uint8Array>;

async function filesIn(dir: string): Promise<Files> {
  const files = new Map<string, Uint8Array>();
  for await (const { name } of Deno.readDir(dir)) {
    files.set(name, await Deno.readFile(`${dir}/${name}`));
  }
  return files;
}

/** A state with nonces, grants, and a client whose mark covers some of them; stopped, or as a kill leaves it. */
async function makeState(stop: "stopped" | "killed"): Promise<Files> {
  await using folder = await Folder.create();
  const dir = folder.file("state");
  await Deno.mkdir(dir);
  using opened = open(dir);
  opened.replay.raiseFloor(NOW_NS - DAY_NS);
  const takeSome = (from: number, to: number) => {
    for (let n = from; n < to; n++) {
      const grant = GRANTS[n];
      const record = { key: keyOf(n), ...(grant ? { opened: { grant, renewed: false } } : {}) };
      assert.equal(take(opened, knockRecord(n, record)), "fresh");
    }
  };
  takeSome(0, KNOCKS / 2);
  opened.store.tend({ grants: GRANTS, replayWindowNs: WINDOW_NS }); // some of it out of the log
  takeSome(KNOCKS / 2, KNOCKS);
  if (stop === "stopped") {
    opened.store.close();
    return await filesIn(dir);
  }
  return await filesIn(await copyOfState(dir, folder.file("killed")));
}

/** Opens a state; gives what was told, after every knock of before was sent again. */
async function outcomeOf(files: Files, why: string): Promise<string> {
  await using folder = await Folder.create();
  for (const [name, bytes] of files) await folder.write(name, bytes);
  using opened = open(folder.path, { clock: new StillClock(START_NS) });
  for (let n = 0; n < KNOCKS; n++) {
    const verdict = opened.replay.checkAndRemember(keyOf(n), nonce(n), NOW_NS + BigInt(n), {
      nowNs: START_NS,
      replayWindowNs: WINDOW_NS,
    });
    assert.equal(verdict, "replay", `${why}: knock ${n}`);
  }
  const known = new Set(GRANTS.map((grant) => JSON.stringify({ ...grant, address: grant.client })));
  for (const grant of opened.stored.grants) {
    const shown = JSON.stringify({ ...grant, address: grant.client });
    assert.ok(known.has(shown), `${why}: ${shown}`);
  }
  assert.ok(opened.store.isSound(), why);
  return opened.told().join(", ") || "whole";
}

const ROWS = [
  { file: "state.db", stop: "stopped" },
  { file: "state.db", stop: "killed" },
  { file: "state.db-wal", stop: "killed" },
  { file: "intact", stop: "stopped" },
  { file: "intact", stop: "killed" },
] as const;

for (const { file, stop } of ROWS) {
  Deno.test(`bits of ${file} that turn over after serve was ${stop}: no knock is fresh again, seed ${SEED}`, async (t) => {
    const files = await makeState(stop);
    const whole = files.get(file);
    assert.ok(whole && whole.length > 0);
    assert.equal(await outcomeOf(files, "nothing turned over"), "whole");
    const random = new Random(SEED);
    const counts = new Map<string, number>();
    const endMs = performance.now() + FOR_MS;
    for (let i = 0; i < AT_LEAST || (performance.now() < endMs && i < 1000); i++) {
      const bytes = whole.slice();
      // One bit, as a disk errs; or a run of bytes.
      const [at, bit] = [random.below(bytes.length), random.below(8)];
      const length = i % 4 === 3 ? 1 + random.below(64) : 0;
      bytes[at]! ^= 1 << bit;
      for (let each = at; each < Math.min(bytes.length, at + length); each++) {
        bytes[each] = random.below(256);
      }
      const why = `${file}: bit ${bit} of byte ${at}, and ${length} bytes (seed ${SEED})`;
      const outcome = await outcomeOf(new Map([...files, [file, bytes]]), why);
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    }
    const told = [...counts].sort().map(([outcome, count]) => `${outcome} ${count}`).join("; ");
    await t.step(told, () => assert.ok(counts.size > 1 || file === "intact"));
  });
}

Deno.test("a log that is gone, or ends early, is known to be", async () => {
  const files = await makeState("killed");
  const log = files.get("state.db-wal")!;
  for (const size of [0, 20, 32 + 24, log.length >> 3]) {
    const cut = new Map([...files, ["state.db-wal", log.slice(0, size)]]);
    const outcome = await outcomeOf(cut, `${size} bytes of the log`);
    assert.equal(outcome, "warn state_incomplete", `${size} bytes of the log`);
  }
});

Deno.test("the state of an openme that knew no digest is taken over, once", async () => {
  await using folder = await Folder.create();
  {
    using first = open(folder.path);
    for (let n = 0; n < 10; n++) take(first, knockRecord(n));
  }
  const { DatabaseSync } = await import("node:sqlite");
  const older = new DatabaseSync(folder.file("state.db"));
  older.exec("DELETE FROM meta WHERE name IN ('digest', 'version')");
  older.close();
  await folder.write("intact", "");
  {
    using second = open(folder.path);
    assert.deepEqual(second.told(), []);
    assert.equal([...second.replay.entries()].length, 10);
  }
  const after = new DatabaseSync(folder.file("state.db"));
  after.exec("DELETE FROM nonces WHERE timestamp_ns = (SELECT max(timestamp_ns) FROM nonces)");
  after.close();
  using third = open(folder.path);
  assert.deepEqual(third.told(), ["warn state_unreadable"]);
});
