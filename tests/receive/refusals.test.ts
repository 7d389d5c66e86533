/** Which refusals are told, and in which words. */

import assert from "node:assert/strict";
import { causeOf } from "../../lib/receive/refusal_causes.ts";
import { formatOffset, RefusalLimit, type RefusalReason } from "../../lib/receive/refusals.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import {
  ALICE,
  BOB,
  DAY_NS,
  filled,
  freshRules,
  knockBy,
  MALLORY,
  moment,
  NOW_NS,
  SOURCE,
  WINDOW_NS,
} from "../support/knocks.ts";
import { judge } from "../support/judge.ts";

const STALE_NS = NOW_NS - 5n * WINDOW_NS;

/** Whether the verdict on a datagram is told, so many ms after the start. */
function teller(rules = freshRules()) {
  const limit = new RefusalLimit();
  return (datagram: Uint8Array, atMs = 0) => {
    const verdict = judge(datagram, SOURCE, NOW_NS, rules);
    assert.ok(verdict.kind === "drop");
    return limit.isWorthTelling(verdict, moment(atMs));
  };
}

Deno.test("RefusalLimit tells a stale knock once a client and minute", async () => {
  const tells = teller();
  const [one, other, bobs] = await Promise.all([
    knockBy(ALICE, { timestampNs: STALE_NS }),
    knockBy(ALICE, { timestampNs: STALE_NS + 1n, randomNonce: filled(2, 16) }),
    knockBy(BOB, { timestampNs: STALE_NS }),
  ]);
  assert.equal(tells(one), true);
  assert.equal(tells(one), false);
  assert.equal(tells(other, 59_999), false);
  assert.equal(tells(bobs, 59_999), true);
  assert.equal(tells(other, 60_000), true);
  assert.equal(tells(one, 119_999), false);
});

Deno.test("RefusalLimit tells nothing of a replay, however old, nor of strangers", async () => {
  const datagram = await knockBy(ALICE, { timestampNs: STALE_NS });
  const nonce = filled(0x70, 16);
  const seen = new ReplayMemory();
  seen.restore(ALICE.key, nonce, STALE_NS);
  const forgotten = new ReplayMemory();
  forgotten.restoreWatermark(ALICE.key, STALE_NS);
  const lost = new ReplayMemory();
  lost.raiseFloor(NOW_NS - DAY_NS);
  assert.equal(teller(freshRules({ replay: seen }))(datagram), false);
  assert.equal(teller(freshRules({ replay: forgotten }))(datagram), false);
  assert.equal(teller(freshRules({ replay: lost }))(datagram), true, "newer than what was lost");
  lost.raiseFloor(STALE_NS);
  assert.equal(teller(freshRules({ replay: lost }))(datagram), false);
  const others = new ReplayMemory();
  others.restore(BOB.key, nonce, STALE_NS);
  assert.equal(teller(freshRules({ replay: others }))(datagram), true, "a nonce is its client's");

  const fresh = freshRules();
  judge(await knockBy(ALICE), SOURCE, NOW_NS, fresh);
  assert.equal(teller(fresh)(await knockBy(ALICE)), false);
  assert.equal(teller()(await knockBy(MALLORY, { timestampNs: STALE_NS })), false);
  assert.equal(teller()(new Uint8Array(165)), false);
});

Deno.test("RefusalLimit tells of a machine that believes it is 1970, also below a watermark and a floor", async () => {
  const replay = new ReplayMemory();
  replay.restoreWatermark(ALICE.key, NOW_NS);
  replay.raiseFloor(NOW_NS);
  assert.equal(teller(freshRules({ replay }))(await knockBy(ALICE, { timestampNs: 60n })), true);
});

Deno.test("judge() says how far a stale knock's clock is off, and changes nothing for it", async () => {
  const rules = freshRules();
  for (const aheadNs of [-5n * WINDOW_NS, 5n * WINDOW_NS]) {
    const datagram = await knockBy(ALICE, { timestampNs: NOW_NS + aheadNs });
    const verdict = judge(datagram, SOURCE, NOW_NS, rules);
    assert.deepEqual(verdict, {
      kind: "drop",
      reason: "stale",
      client: ALICE,
      clock: { aheadNs, seen: false },
    });
  }
  assert.deepEqual([...rules.replay.entries()], []);
});

Deno.test("formatOffset() says how far and in which direction", () => {
  const rows: [number, string][] = [
    [-123_000, "2m3s behind"],
    [300_499, "5m0s ahead"],
    [-72 * 3_600_000, "3 days behind"],
    [-9_223_372_036_854, "106751 days behind"],
  ];
  for (const [aheadMs, expected] of rows) assert.equal(formatOffset(aheadMs), expected);
});

Deno.test("causeOf() has words of its own for every reason that is told", () => {
  const reasons: RefusalReason[] = ["expired", "stale", "target", "limit", "backend"];
  const causes = reasons.map((reason) => causeOf(reason, -300_000));
  assert.equal(new Set(causes).size, reasons.length);
  assert.match(causes[1]!, /its clock is 5m0s behind/);
});
