/** Codes at their edges: `lib/config/codes.ts`. */

import assert from "node:assert/strict";
import { type CodeAt, type CodedKnock, judgeCode, loadCodes } from "../../lib/config/codes.ts";
import type { KeyRecord } from "../../lib/values/key_record.ts";
import { address } from "../support/knocks.ts";

const NO_RECORD: KeyRecord = { used: 0, step: 0, wrong: 0, lockedUntilMs: 0 };
const codeAt = await loadCodes();
/** RFC 6238's secret, "12345678901234567890". */
const SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const STEP = 60_000_000;
const START_MS = STEP * 30_000;
const MINUTE_MS = 60_000;
const [V4, OTHER_V4, V6] = ["203.0.113.7", "203.0.113.8", "2001:db8::7"].map(address);

/** Alice's keys in memory, as a server has them. */
class Keys {
  readonly records = new Map<string, KeyRecord>();
  floorNs: bigint | undefined;
  codeAt: CodeAt | undefined = codeAt;

  judge(code: number, nowMs: number, knock: Partial<CodedKnock> = {}) {
    const key = knock.key ?? "new";
    const judged = judgeCode({
      ...{ key, code, nowMs, address: V4!, isHeld: () => false, lifetimeMs: 30_000, fleet: {} },
      ...{ codeAt: this.codeAt, floorNs: this.floorNs },
      recordOf: (each) => this.records.get(each) ?? NO_RECORD,
      ...knock,
    }, { secret: SECRET, key: "new", previous: { key: "old" } });
    this.records.set(key, judged.record);
    return judged.refusal ?? (judged.continues ? "continues" : "taken");
  }
}

const code = (step: number) => codeAt(SECRET, step);

Deno.test("codes are those of RFC 6238, appendix B, in six digits", () => {
  const times = { 59: 287082, 1111111109: 81804, 1234567890: 5924, 20000000000: 353130 };
  for (const [seconds, expected] of Object.entries(times)) {
    assert.equal(code(Math.floor(Number(seconds) / 30)), expected);
  }
});

Deno.test("a code is good in its step and the one before and after, by the server's clock", () => {
  const rows: [code: number, atMs: number, outcome: string][] = [
    [code(STEP), START_MS - 30_001, "code_wrong"],
    [code(STEP), START_MS - 30_000, "taken"],
    [code(STEP), START_MS, "taken"],
    [code(STEP), START_MS + 29_999, "taken"],
    [code(STEP), START_MS + 59_999.9, "taken"],
    [code(STEP), START_MS + 60_000, "code_wrong"],
    [code(STEP) + 1, START_MS, "code_wrong"],
    [999_999, START_MS, "code_wrong"],
    [1_000_000, START_MS, "code_missing"],
    [0xffffffff, START_MS, "code_missing"],
  ];
  for (const [given, atMs, outcome] of rows) {
    assert.equal(new Keys().judge(given, atMs), outcome, `${given} at ${atMs - START_MS}`);
  }
  const told = new Keys();
  assert.equal(
    told.judge(code(STEP), START_MS + 60_000, { fleet: { ageMs: 1 } }),
    "taken",
    "another host",
  );
  const waited = { ageMs: 1, waitedMs: 59_999 };
  assert.equal(
    new Keys().judge(code(STEP), START_MS + 2 * MINUTE_MS - 1, { fleet: waited }),
    "taken",
  );
  const without = new Keys();
  without.codeAt = undefined;
  assert.equal(without.judge(code(STEP), START_MS), "code_wrong");
});

Deno.test("a code is taken once, and none of an earlier step after it", () => {
  const keys = new Keys();
  assert.equal(keys.judge(code(STEP), START_MS), "taken");
  assert.equal(keys.judge(code(STEP), START_MS, { address: OTHER_V4! }), "code_used");
  assert.equal(keys.judge(code(STEP - 1), START_MS, { address: OTHER_V4! }), "code_used");
  assert.equal(keys.judge(code(STEP), START_MS + 10_001), "code_used");
  assert.equal(keys.judge(code(STEP), START_MS + 10 * MINUTE_MS), "code_used", "long after");
  assert.equal(keys.judge(code(STEP + 1), START_MS, { address: OTHER_V4! }), "taken");
  assert.equal(keys.judge(code(STEP), START_MS), "code_used");
  // Its other key has the same app.
  assert.equal(keys.judge(code(STEP + 1), START_MS, { key: "old" }), "code_used");
  assert.equal(keys.judge(code(STEP + 2), START_MS + 30_000, { key: "old" }), "taken");
  assert.equal(keys.judge(code(STEP + 2), START_MS + 30_000), "code_used");
  // None of these is a guess.
  assert.deepEqual([...keys.records.values()].map(({ wrong }) => wrong), [0, 0]);
});

Deno.test("the knocks of one command are one use: the same address, one of the other family", () => {
  const keys = new Keys();
  const judge = (atMs: number, knock: Partial<CodedKnock>) =>
    keys.judge(code(STEP), START_MS + atMs, knock);
  assert.equal(judge(0, {}), "taken");
  assert.equal(judge(1000, {}), "continues");
  assert.equal(judge(10_000, { address: V6! }), "continues");
  assert.equal(judge(10_000, { address: address("2001:db8::8") }), "code_used", "a third");
  assert.equal(judge(10_001, {}), "code_used");
  assert.equal(judge(10_001, { isHeld: () => true }), "continues", "lengthens nothing");
  assert.equal(judge(10 * MINUTE_MS, { isHeld: () => true }), "continues");
  assert.equal(judge(9999, { address: OTHER_V4! }), "code_used");
  assert.equal(judge(-1, {}), "code_used", "a clock that was set back");
  const short = new Keys();
  assert.equal(short.judge(code(STEP), START_MS, { lifetimeMs: 1000 }), "taken");
  const after = { lifetimeMs: 1000, address: V6! };
  assert.equal(short.judge(code(STEP), START_MS + 1001, after), "code_used", "it has ended");
});

Deno.test("a code that another host of a fleet has is good for what that host tells of, and for the rest of its use", () => {
  const keys = new Keys();
  const judge = (atMs: number, fleet: CodedKnock["fleet"], address = V4!) =>
    keys.judge(code(STEP), START_MS + atMs, { fleet, address });
  assert.equal(judge(0, { unclaimed: "code" }, OTHER_V4), "code_used");
  assert.equal(judge(0, { unclaimed: "code" }), "code_used");
  assert.equal(judge(20, { ageMs: 15 }), "taken");
  assert.equal(judge(30, { unclaimed: "code" }), "continues");
  assert.equal(judge(30, { unclaimed: "code" }, V6), "continues");
  assert.equal(judge(30, { unclaimed: "code" }, OTHER_V4), "code_used");
});

Deno.test("what may have been used before something was lost counts as used", () => {
  const keys = new Keys();
  keys.floorNs = BigInt(START_MS + 12_000) * 1_000_000n;
  assert.equal(keys.judge(code(STEP - 1), START_MS + 13_000), "code_used");
  assert.equal(keys.judge(code(STEP), START_MS + 13_000), "code_used");
  assert.equal(keys.judge(code(STEP + 1), START_MS + 13_000), "taken");
});

Deno.test("five wrong codes lock for 5 minutes, each further one for twice as long, up to 8 hours", () => {
  const keys = new Keys();
  let atMs = START_MS;
  let next = 1;
  const wrong = () => {
    const codes = [-1, 0, 1].map((step) => code(Math.floor(atMs / 30_000) + step));
    while (codes.includes(next)) next++;
    return keys.judge(next++, atMs);
  };
  const right = () => keys.judge(code(Math.floor(atMs / 30_000)), atMs);
  for (let i = 0; i < 4; i++) assert.equal(wrong(), "code_wrong");
  // The same again is the same command's.
  for (let i = 0; i < 10; i++) assert.equal(keys.judge(next - 1, atMs + 2999 * i), "code_wrong");
  assert.equal(right(), "taken");
  for (let i = 0; i < 4; i++) assert.equal(wrong(), "code_wrong");
  for (const minutes of [5, 10, 20, 40, 80, 160, 320, 480, 480]) {
    assert.equal(wrong(), "code_wrong", `${minutes}`);
    assert.equal(right(), "code_locked");
    assert.equal(keys.judge(5_000_000, atMs), "code_missing");
    const later = code(Math.floor(atMs / 30_000) + 1);
    assert.equal(keys.judge(later, atMs, { key: "old" }), "taken", "another key is no worse off");
    atMs += minutes * MINUTE_MS - 1;
    assert.equal(right(), "code_locked", `${minutes} minutes`);
    atMs += 1;
  }
  atMs += 30_000;
  assert.equal(right(), "taken");
  assert.equal(wrong(), "code_wrong");
  atMs += 30_000;
  assert.equal(right(), "taken", "counted from the beginning");

  for (let i = 0; i < 5; i++) wrong();
  assert.equal(right(), "code_locked");
  atMs -= 24 * 60 * MINUTE_MS;
  assert.notEqual(wrong(), "code_locked", "a clock that was a day ahead");
});

Deno.test("one wrong code again and again, for the day that it is right, is guessing", () => {
  const keys = new Keys();
  const guess = [...Array(20).keys()].find((each) => {
    return [...Array(20).keys()].every((step) => code(STEP + step - 5) !== each);
  })!;
  for (let i = 0; i < 5; i++) {
    assert.equal(keys.judge(guess, START_MS + i * 30_000), "code_wrong");
    assert.equal(
      keys.judge(guess, START_MS + i * 30_000 + 29_999),
      i < 4 ? "code_wrong" : "code_locked",
    );
  }
  assert.equal(keys.judge(guess, START_MS + 150_000), "code_locked");
});
