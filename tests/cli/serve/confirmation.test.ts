/** `serve --confirm`: the first of a confirmation and the end of the time decides; and the countdown. */

import assert from "node:assert/strict";
import { Confirmation, formatCountdown } from "../../../lib/cli/serve/confirmation.ts";
import { OpenmeError } from "../../../lib/values/errors.ts";
import { waitFor } from "../../support/wait.ts";
import { StillTimers } from "../../support/still_timers.ts";
import { memoryLog } from "../../support/memory_log.ts";

/** A wait that has begun; what it shows and logs. */
function begin({ stop = new AbortController(), timeoutMs = 60_000 } = {}) {
  const { log, events } = memoryLog();
  const shown: string[] = [];
  const confirmation = new Confirmation({
    timeoutMs,
    stop: stop.signal,
    log,
    show: (text) => shown.push(text),
  });
  let kept = 0;
  confirmation.onConfirmed(() => kept++);
  confirmation.begin();
  return { confirmation, stop, events, shown, kept: () => kept };
}

function isTold(confirmation: Confirmation): boolean {
  try {
    confirmation.confirm();
    return true;
  } catch (error) {
    assert.ok(error instanceof OpenmeError);
    assert.equal(error.message, "no openme serve waits for a confirmation");
    return false;
  }
}

Deno.test("of the end of the time and a confirmation the first decides, for both sides", () => {
  for (const isInTime of [true, false]) {
    using timers = new StillTimers();
    const { confirmation, kept } = begin();
    using _ = confirmation;
    if (!isInTime) timers.runOut();
    assert.equal(isTold(confirmation), isInTime);
    timers.runOut();
    assert.equal(kept(), isInTime ? 1 : 0);
    assert.equal(confirmation.isConfirmed, isInTime);
    assert.equal(confirmation.hasFailed, !isInTime);
    assert.equal(confirmation.signal.aborted, !isInTime);
  }
});

Deno.test("a second confirmation, and one of a server that stops, are refused", () => {
  const first = begin();
  using one = first.confirmation;
  assert.equal(isTold(one), true);
  assert.equal(isTold(one), false);
  const stopped = begin();
  using two = stopped.confirmation;
  stopped.stop.abort();
  assert.equal(isTold(two), false);
  assert.equal(two.isConfirmed, false, "what nobody confirmed is put back, also at a stop");
  assert.equal(two.hasFailed, false);
});

Deno.test("an error of any part ends an unconfirmed server, and not its process", async () => {
  const { confirmation, events } = begin();
  using _ = confirmation;
  setTimeout(() => {
    throw new Error("as told");
  });
  await waitFor("the end", () => confirmation.signal.aborted);
  assert.equal(confirmation.hasFailed, true);
  assert.deepEqual(events.map(({ event, fields }) => [event, fields["error"]]), [
    ["not_confirmed", "as told"],
  ]);
  Promise.reject(new Error("while it is put back"));
  await waitFor("the second", () => events.length > 1);
});

Deno.test("the countdown is one line that fits, and goes at the end", () => {
  const { confirmation, shown } = begin();
  using _ = confirmation;
  assert.equal(shown[0], formatCountdown(60_000));
  confirmation.confirm();
  assert.equal(shown.at(-1), "");
  for (const leftMs of [-5, 0, 1, 999, 99_000, 100_000, 3_600_000]) {
    assert.ok(formatCountdown(leftMs).length < 80);
  }
  assert.match(formatCountdown(1), / put back in 1 s; .* openme confirm$/);
  assert.match(formatCountdown(3_600_000), / 60 min; /);
});
