/** What is done again and again: never sooner than it is due, and not after its end. */

import assert from "node:assert/strict";
import { repeat } from "../../lib/system/repeat.ts";
import { pause } from "../../lib/system/clock.ts";

Deno.test("repeat() does each task at its own pace, never sooner than asked for, until it is ended", async () => {
  const times: number[] = [];
  let others = 0;
  const end = repeat([
    { everyMs: 20, do: () => void times.push(performance.now()) },
    { everyMs: 1, do: () => void others++ },
  ]);
  // The event loop is held up: what was missed is not made up for.
  while (times.length < 1) await pause(5);
  const busyUntil = performance.now() + 100;
  while (performance.now() < busyUntil);
  while (times.length < 4) await pause(5);
  end();
  const [done, othersDone] = [times.length, others];
  assert.ok(othersDone > done);
  const gaps = times.slice(1).map((time, i) => time - times[i]!);
  assert.ok(gaps.every((gap) => gap >= 19), `${gaps}`);
  await pause(60);
  assert.deepEqual([times.length, others], [done, othersDone]);
});
