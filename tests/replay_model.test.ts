/** The replay memory agrees with a naive model over random histories, and lets no knock pass twice. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesToHex } from "../lib/crypto/keys.ts";
import { ReplayMemory } from "../lib/replay.ts";
import { DAY_NS, filled, NOW_NS as START, restarted } from "./support/knocks.ts";

/** The same rules, written down as plainly as possible. */
class NaiveMemory {
  seen: { key: string; nonce: number; timestampNs: bigint }[] = [];
  forgotten: { key: string; timestampNs: bigint }[] = [];
  floors: bigint[] = [];
  quota: number;

  constructor(quota: number) {
    this.quota = quota;
  }

  check(key: string, nonce: number, timestampNs: bigint, nowNs: bigint, windowNs: bigint) {
    if (this.floors.some((floor) => timestampNs <= floor)) return "replay";
    if (this.forgotten.some((each) => each.key === key && timestampNs <= each.timestampNs)) {
      return "replay";
    }
    const mine = this.seen.filter((each) => each.key === key);
    if (mine.some((each) => each.nonce === nonce)) return "replay";
    if (mine.length >= this.quota) {
      const oldest = mine.map((each) => each.timestampNs).reduce((a, b) => a < b ? a : b);
      if (nowNs - oldest <= windowNs) {
        this.forgotten.push({ key, timestampNs });
        return "limit";
      }
      this.forget((each) => each.key === key && each.timestampNs === oldest);
    }
    this.seen.push({ key, nonce, timestampNs });
    return "fresh";
  }

  forget(which: (each: { key: string; timestampNs: bigint }) => boolean) {
    this.forgotten.push(...this.seen.filter(which));
    this.seen = this.seen.filter((each) => !which(each));
  }

  watermarkOf(key: string) {
    const marks = this.forgotten.filter((each) => each.key === key).map((each) => each.timestampNs);
    return marks.length === 0 ? undefined : marks.reduce((a, b) => a > b ? a : b);
  }
}

const KEYS = ["alice", "bob", "carol"];
/** A window of ten nanoseconds: few enough that random knocks meet. */
const anyStep = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("knock" as const),
      key: fc.constantFrom(...KEYS),
      nonce: fc.nat(9),
      age: fc.integer({ min: -10, max: 10 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("again" as const), which: fc.nat(50) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("clock" as const),
      // Few moments, so that the clock comes back to where it was.
      toNs: fc.tuple(fc.constantFrom(0n, 0n, 0n, DAY_NS / 2n, DAY_NS + 25n), fc.nat(20))
        .map(([far, near]) => START + far + BigInt(near)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("prune" as const),
      // A clock that is far ahead for this one moment.
      aheadNs: fc.constantFrom(0n, DAY_NS, DAY_NS + 10n, DAY_NS + 30n),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("window" as const), ns: fc.constantFrom(10n, 20n) }),
  },
);

Deno.test("the replay memory agrees with a naive model, and lets no knock pass twice", () => {
  const tally: Record<string, number> = {};
  const count = (what: string) => tally[what] = (tally[what] ?? 0) + 1;

  const histories = fc.array(anyStep, { maxLength: 60, size: "max" });
  const anyFloor = fc.option(fc.bigInt({ min: -10n, max: 10n }), { nil: undefined });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), anyFloor, histories, (quota, floor, steps) => {
      let memory = new ReplayMemory({ quota });
      const model = new NaiveMemory(quota);
      if (floor !== undefined) {
        memory.raiseFloor(START + floor);
        model.floors.push(START + floor);
      }
      let nowNs = START;
      let windowNs = 10n;
      const knocks: { key: string; nonce: number; timestampNs: bigint; spent: boolean }[] = [];

      const present = (knock: typeof knocks[number]) => {
        const { key, nonce, timestampNs } = knock;
        const ageNs = nowNs - timestampNs;
        if (ageNs > windowNs || -ageNs > windowNs) return; // the gate's business: stale
        const expected = model.check(key, nonce, timestampNs, nowNs, windowNs);
        const times = { nowNs, replayWindowNs: windowNs };
        const found = memory.checkAndRemember(key, filled(nonce, 16), timestampNs, times);
        assert.equal(found, expected);
        assert.ok(!knock.spent || found === "replay", "a knock passed twice");
        // One that was refused for its nonce, which an older knock had used, may pass once that one is too old.
        if (found !== "replay") knock.spent = true;
        count(found);
      };

      for (const step of steps) {
        const before = new Map(KEYS.map((key) => [key, model.watermarkOf(key)]));
        if (step.kind === "knock") {
          const knock = { ...step, timestampNs: nowNs - BigInt(step.age), spent: false };
          knocks.push(knock);
          present(knock);
        } else if (step.kind === "again") {
          const knock = knocks[step.which % Math.max(1, knocks.length)];
          if (knock) present(knock);
        } else if (step.kind === "clock") {
          nowNs = step.toNs;
        } else if (step.kind === "window") {
          windowNs = step.ns;
        } else if (step.kind === "restart") {
          memory = restarted(memory, quota);
        } else {
          const pruneNs = nowNs + step.aheadNs;
          const isOld = (each: { timestampNs: bigint }) =>
            pruneNs > each.timestampNs + windowNs + DAY_NS;
          if (model.seen.some(isOld)) count("pruned");
          model.forget(isOld);
          memory.prune({ nowNs: pruneNs, replayWindowNs: windowNs });
        }
        for (const key of KEYS) assert.equal(memory.watermarkOf(key), model.watermarkOf(key));
        const risen = KEYS.filter((key) => model.watermarkOf(key) !== before.get(key));
        assert.deepEqual([...memory.takeRisen()].sort(), risen);
        const entries = [...memory.entries()].map((entry) => entry.join(" "));
        const wanted = model.seen.map(({ key, nonce, timestampNs }) =>
          [key, bytesToHex(filled(nonce, 16)), timestampNs].join(" ")
        );
        assert.deepEqual(entries.sort(), wanted.sort());
      }
    }),
    { numRuns: 1000 },
  );
  // The histories must have got everywhere, or the agreement says little.
  for (const what of ["fresh", "replay", "limit", "pruned"]) {
    assert.ok((tally[what] ?? 0) > 50, `only ${tally[what]} times ${what}`);
  }
});
