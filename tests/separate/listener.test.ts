import assert from "node:assert/strict";
import { listenBy } from "../../lib/separate/listener.ts";
import { processClock } from "../../lib/system/clock.ts";

Deno.test("what a process has left in the pipe when it is killed does not hold up the end", async () => {
  let isKilled = false;
  let left = 30_000;
  const messages = (async function* () {
    yield { listening: true };
    while (!isKilled || left-- > 0) yield 0;
  })();
  const listening = await listenBy(
    {
      name: "metrics",
      role: { role: "metrics" },
      process: {
        channel: { messages, send: () => {}, close: () => {} },
        kill: () => isKilled = true,
      },
      messages: { perSecond: 50, capacity: 50 },
      answer: () => undefined,
      clock: processClock(),
    } as unknown as Parameters<typeof listenBy>[0],
  );
  const startMs = performance.now();
  listening.close();
  await listening.ended;
  assert.ok(isKilled);
  assert.ok(performance.now() - startMs < 60_000, "at 50 a second it would be 10 minutes");
});
