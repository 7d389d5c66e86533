/** The tests' own sum over a log of drops, against the log that it reads. */

import assert from "node:assert/strict";
import { ServerLog } from "../../lib/receive/server_log.ts";
import { createLog } from "../../lib/system/log.ts";
import { tallyDrops } from "./drop_tally.ts";

Deno.test("tallyDrops() counts every drop once, whether told in a line, a summary or both", () => {
  for (const seconds of [[5, 0, 30], [30, 5], [20, 20, 21], [0, 1000, 7, 20, 19], [3, 3, 3]]) {
    for (const kernel of [false, true]) {
      const lines: string[] = [];
      const log = createLog({
        level: "debug",
        format: "logfmt",
        now: () => new Date(0),
        write: (line) => lines.push(line),
      });
      const drops = new ServerLog(log);
      const expected = new Map<string, number>();
      for (const [i, count] of seconds.entries()) {
        for (let n = 0; n < count; n++) {
          const reason = n % 3 ? "decrypt" : "stale";
          drops.dropped(reason, () => ({ source: "192.0.2.1" }));
          expected.set(reason, (expected.get(reason) ?? 0) + 1);
        }
        if (kernel) drops.kernelHas({ size: i + 1 });
        drops.tick();
      }
      assert.deepEqual(new Map([...tallyDrops(lines)].sort()), new Map([...expected].sort()));
    }
  }
});
