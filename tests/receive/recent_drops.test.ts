/** How many knocks with a wrong key are counted: those of one hour. */

import assert from "node:assert/strict";
import { RecentDrops } from "../../lib/receive/recent_drops.ts";

const MINUTE_MS = 60_000;

Deno.test("RecentDrops counts two reasons, and forgets after an hour", () => {
  const drops = new RecentDrops();
  const startMs = 7 * MINUTE_MS + 5000;
  for (const reason of ["decrypt", "signature", "decrypt", "stale", "overload", "constructor"]) {
    drops.count(reason, startMs);
  }
  assert.deepEqual(drops.lastHour(startMs), { decrypt: 2, signature: 1 });
  drops.count("decrypt", startMs + 30 * MINUTE_MS);
  assert.deepEqual(drops.lastHour(startMs + 59 * MINUTE_MS), { decrypt: 3, signature: 1 });
  assert.deepEqual(drops.lastHour(startMs + 60 * MINUTE_MS), { decrypt: 1, signature: 0 });
  assert.deepEqual(drops.lastHour(startMs + 90 * MINUTE_MS), { decrypt: 0, signature: 0 });
  // After a day without any, and where the clock stands still.
  for (let i = 0; i < 5; i++) drops.count("decrypt", startMs + 1440 * MINUTE_MS);
  assert.deepEqual(drops.lastHour(startMs + 1440 * MINUTE_MS), { decrypt: 5, signature: 0 });
  assert.deepEqual(drops.lastHour(startMs + 1e9 * MINUTE_MS), { decrypt: 0, signature: 0 });
});
