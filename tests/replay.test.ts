/** The replay memory: hand-written histories. Random ones are in `replay_model.test.ts`. */

import assert from "node:assert/strict";
import { bytesToHex } from "../lib/crypto/keys.ts";
import {
  KEEP_AFTER_WINDOW_NS,
  NONCES_PER_CLIENT,
  type Remembered,
  ReplayMemory,
} from "../lib/replay.ts";
import { DAY_NS, filled, NOW_NS, restarted, WINDOW_NS } from "./support/knocks.ts";

const HOUR_NS = DAY_NS / 24n;
/** All times below are relative to this one. */
const START = NOW_NS;

interface Row {
  readonly n: number;
  readonly at: bigint;
  readonly client?: string;
  readonly nonce: number;
  readonly dated: bigint;
  readonly expected: Remembered;
}

function run(memory: ReplayMemory, rows: readonly Row[]): void {
  for (const { n, at, client = "alice", nonce, dated, expected } of rows) {
    const times = { nowNs: START + at, replayWindowNs: WINDOW_NS };
    const found = memory.checkAndRemember(client, filled(nonce, 16), START + dated, times);
    assert.equal(found, expected, `row ${n}`);
  }
}

function prune(memory: ReplayMemory, at: bigint): string[] {
  memory.prune({ nowNs: START + at, replayWindowNs: WINDOW_NS });
  return [...memory.takeRisen()];
}

Deno.test("the replay memory holds 4,096 nonces a client, for a day after the window", () => {
  assert.equal(NONCES_PER_CLIENT, 4096);
  assert.equal(KEEP_AFTER_WINDOW_NS, DAY_NS);
});

Deno.test("checkAndRemember() takes a nonce once, per client, whatever it is dated", () => {
  run(new ReplayMemory(), [
    { n: 1, at: 0n, nonce: 1, dated: 0n, expected: "fresh" },
    { n: 2, at: 0n, nonce: 1, dated: 0n, expected: "replay" },
    { n: 3, at: 5n, nonce: 1, dated: 5n, expected: "replay" },
    { n: 4, at: 5n, nonce: 2, dated: 0n, expected: "fresh" },
    { n: 5, at: 5n, nonce: 3, dated: -WINDOW_NS, expected: "fresh" },
    { n: 6, at: 5n, client: "bob", nonce: 1, dated: 0n, expected: "fresh" },
    { n: 7, at: 5n, client: "bob", nonce: 1, dated: 0n, expected: "replay" },
  ]);
});

Deno.test("checkAndRemember() remembers a knock dated ahead until it is too old", () => {
  const memory = new ReplayMemory();
  run(memory, [{ n: 1, at: 0n, nonce: 1, dated: WINDOW_NS, expected: "fresh" }]);
  assert.deepEqual(prune(memory, 2n * WINDOW_NS), []);
  run(memory, [{ n: 2, at: 2n * WINDOW_NS, nonce: 1, dated: WINDOW_NS, expected: "replay" }]);
});

Deno.test("checkAndRemember() refuses a client that has filled its quota", () => {
  run(new ReplayMemory({ quota: 3 }), [
    { n: 1, at: 0n, nonce: 1, dated: 0n, expected: "fresh" },
    { n: 2, at: 1n, nonce: 2, dated: 1n, expected: "fresh" },
    { n: 3, at: 2n, nonce: 3, dated: 2n, expected: "fresh" },
    { n: 4, at: 3n, nonce: 4, dated: 3n, expected: "limit" },
    { n: 5, at: 3n, client: "bob", nonce: 4, dated: 3n, expected: "fresh" },
    // The oldest is exactly a window old: its knock would still be accepted, so it stays.
    { n: 6, at: WINDOW_NS, nonce: 5, dated: WINDOW_NS, expected: "limit" },
    { n: 7, at: WINDOW_NS + 1n, nonce: 6, dated: WINDOW_NS + 1n, expected: "fresh" },
    { n: 8, at: WINDOW_NS + 1n, nonce: 7, dated: WINDOW_NS + 2n, expected: "limit" },
    { n: 9, at: WINDOW_NS + 2n, nonce: 8, dated: WINDOW_NS + 3n, expected: "fresh" },
  ]);
});

Deno.test("a knock refused for the quota is not accepted later, when there is room", () => {
  const memory = new ReplayMemory({ quota: 1 });
  run(memory, [
    { n: 1, at: 0n, nonce: 1, dated: 0n, expected: "fresh" },
    { n: 2, at: 1n, nonce: 2, dated: WINDOW_NS, expected: "limit" },
    { n: 3, at: 1n, nonce: 2, dated: WINDOW_NS, expected: "replay" },
    { n: 4, at: WINDOW_NS + 1n, nonce: 2, dated: WINDOW_NS, expected: "replay" },
    // The price: whatever else that client has dated up to the refused one counts as seen too.
    { n: 5, at: WINDOW_NS + 1n, nonce: 3, dated: WINDOW_NS, expected: "replay" },
    { n: 6, at: WINDOW_NS + 1n, nonce: 3, dated: WINDOW_NS + 1n, expected: "fresh" },
  ]);
  assert.equal(memory.watermarkOf("alice"), START + WINDOW_NS);
});

Deno.test("what the quota forgets leaves a watermark, at or below which all is seen", () => {
  const memory = new ReplayMemory({ quota: 2 });
  const later = WINDOW_NS + 10n;
  run(memory, [
    { n: 1, at: 5n, nonce: 1, dated: 5n, expected: "fresh" },
    { n: 2, at: 5n, nonce: 2, dated: 5n, expected: "fresh" },
  ]);
  assert.equal(memory.watermarkOf("alice"), undefined);
  run(memory, [{ n: 3, at: later, nonce: 3, dated: later, expected: "fresh" }]);
  assert.equal(memory.watermarkOf("alice"), START + 5n);
  assert.deepEqual([...memory.entries()].length, 1, "both were dated the same, both are forgotten");
  // Only a clock that goes back brings these here: the gate would call them stale.
  run(memory, [
    { n: 4, at: 5n, nonce: 1, dated: 5n, expected: "replay" },
    { n: 5, at: 5n, nonce: 9, dated: 5n, expected: "replay" },
    { n: 6, at: 5n, nonce: 9, dated: 4n, expected: "replay" },
    { n: 7, at: 5n, nonce: 9, dated: 6n, expected: "fresh" },
    { n: 8, at: 5n, client: "bob", nonce: 9, dated: 4n, expected: "fresh" },
  ]);
});

Deno.test("a clock that goes back does not make the quota forget", () => {
  run(new ReplayMemory({ quota: 1 }), [
    { n: 1, at: DAY_NS, nonce: 1, dated: DAY_NS, expected: "fresh" },
    { n: 2, at: 0n, nonce: 2, dated: 0n, expected: "limit" },
  ]);
});

Deno.test("a floor holds for every client, and only rises", () => {
  const memory = new ReplayMemory();
  assert.equal(memory.floorNs, undefined);
  memory.raiseFloor(START);
  memory.raiseFloor(START - 10n);
  assert.equal(memory.floorNs, START);
  run(memory, [
    { n: 1, at: 0n, nonce: 1, dated: 0n, expected: "replay" },
    { n: 2, at: 0n, nonce: 1, dated: -1n, expected: "replay" },
    { n: 3, at: 0n, client: "bob", nonce: 1, dated: 0n, expected: "replay" },
    { n: 4, at: 0n, nonce: 1, dated: 1n, expected: "fresh" },
  ]);
  assert.deepEqual([...memory.watermarks()], []);
  memory.raiseFloor(START + 1n);
  run(memory, [{ n: 5, at: 0n, nonce: 2, dated: 1n, expected: "replay" }]);
});

Deno.test("a new memory refuses what is dated before it, unless the clock was wrong when it began", () => {
  const memory = new ReplayMemory();
  memory.begin(START);
  assert.equal(memory.has("alice", filled(1, 16), START - 5n), false, "refused, but not seen");
  for (const each of [memory, restarted(memory)]) {
    run(each, [
      { n: 1, at: 0n, nonce: 1, dated: 0n, expected: "replay" },
      { n: 2, at: 1n, nonce: 1, dated: -1n, expected: "replay" },
      { n: 3, at: 1n, nonce: 1, dated: 1n, expected: "fresh" },
      { n: 4, at: -HOUR_NS, nonce: 2, dated: -HOUR_NS, expected: "fresh" },
      { n: 5, at: -HOUR_NS, nonce: 2, dated: -HOUR_NS, expected: "replay" },
    ]);
  }
});

Deno.test("prune() forgets after the window and a day, to the nanosecond", () => {
  const memory = new ReplayMemory();
  run(memory, [
    { n: 1, at: 0n, nonce: 1, dated: 0n, expected: "fresh" },
    { n: 2, at: 0n, nonce: 2, dated: 1n, expected: "fresh" },
    { n: 3, at: 0n, client: "bob", nonce: 3, dated: 2n, expected: "fresh" },
  ]);
  assert.deepEqual(prune(memory, WINDOW_NS + DAY_NS), []);
  assert.deepEqual(prune(memory, WINDOW_NS + DAY_NS + 1n), ["alice"]);
  assert.deepEqual([...memory.watermarks()], [["alice", START]]);
  assert.deepEqual(prune(memory, WINDOW_NS + DAY_NS + 1n), []);
  assert.deepEqual(prune(memory, WINDOW_NS + DAY_NS + 9n).sort(), ["alice", "bob"]);
  assert.deepEqual([...memory.watermarks()], [["alice", START + 1n], ["bob", START + 2n]]);
  assert.deepEqual([...memory.entries()], []);
});

Deno.test("a clock a day and an hour ahead, and back, reopens nothing", () => {
  const memory = new ReplayMemory();
  run(memory, [{ n: 1, at: 0n, nonce: 1, dated: 0n, expected: "fresh" }]);
  assert.deepEqual(prune(memory, DAY_NS + HOUR_NS), ["alice"]);
  for (const each of [memory, restarted(memory)]) {
    run(each, [
      { n: 2, at: 10n, nonce: 1, dated: 0n, expected: "replay" },
      { n: 3, at: 10n, nonce: 2, dated: 0n, expected: "replay" },
      { n: 4, at: 10n, nonce: 2, dated: 1n, expected: "fresh" },
    ]);
  }
});

Deno.test("a clock half a day ahead, and back, shuts nobody out", () => {
  const memory = new ReplayMemory();
  run(memory, [{ n: 1, at: 0n, nonce: 1, dated: 0n, expected: "fresh" }]);
  assert.deepEqual(prune(memory, DAY_NS / 2n), []);
  run(memory, [
    { n: 2, at: 10n, nonce: 1, dated: 0n, expected: "replay" },
    { n: 3, at: 10n, nonce: 2, dated: 0n, expected: "fresh" },
  ]);
});

Deno.test("restore() puts back all that was stored, also above the quota", () => {
  const memory = new ReplayMemory({ quota: 2 });
  for (const nonce of [3, 1, 2, 1]) {
    memory.restore("alice", filled(nonce, 16), START + BigInt(nonce));
  }
  const expected = [1, 2, 3].map((nonce) => [
    "alice",
    bytesToHex(filled(nonce, 16)),
    START + BigInt(nonce),
  ]);
  assert.deepEqual([...memory.entries()], expected, "the oldest first, each once");
  run(memory, [
    { n: 1, at: 4n, nonce: 2, dated: 2n, expected: "replay" },
    { n: 2, at: 4n, nonce: 4, dated: 4n, expected: "limit" },
  ]);
});

Deno.test("restoreWatermark() never lowers it", () => {
  const memory = new ReplayMemory();
  for (const ns of [5n, 3n, 7n, 6n]) memory.restoreWatermark("alice", START + ns);
  assert.equal(memory.watermarkOf("alice"), START + 7n);
  assert.equal(memory.watermarkOf("bob"), undefined);
  run(memory, [
    { n: 1, at: 0n, nonce: 1, dated: 7n, expected: "replay" },
    { n: 2, at: 0n, nonce: 1, dated: 8n, expected: "fresh" },
    { n: 3, at: 0n, client: "bob", nonce: 1, dated: 0n, expected: "fresh" },
  ]);
});
