/** `serve --confirm`: whoever is told "confirmed" has confirmed, to the last millisecond. */

import assert from "node:assert/strict";
import { Confirmation, confirmWaiting } from "../lib/cli/confirmation.ts";
import { createLog } from "../lib/log.ts";
import { runProgram } from "../lib/run_program.ts";
import { waitFor } from "./e2e/wait.ts";

Deno.test("a confirmation in the last moment, or one that is too late, is told the same on both sides", async () => {
  const log = createLog({
    level: "error",
    format: "logfmt",
    now: () => new Date(),
    write: () => {},
  });
  const answers = await Promise.all([50, 340, 390, 398, 400, 402, 450].map(async (atMs) => {
    const dir = await Deno.makeTempDir();
    try {
      const stop = new AbortController();
      let kept = false;
      const parts = { stateDir: dir, timeoutMs: 400, log, run: runProgram };
      const confirmation = new Confirmation({ ...parts, stop: stop.signal });
      confirmation.begin(() => kept = true);
      await new Promise((resolve) => setTimeout(resolve, atMs));
      const confirmed = confirmWaiting(dir);
      await waitFor("the end", () => kept || confirmation.hasFailed);
      assert.equal(confirmed, kept, `at ${atMs} ms`);
      assert.equal(confirmation.hasFailed, !confirmed, `at ${atMs} ms`);
      return confirmed;
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  }));
  assert.equal(answers[0], true);
  assert.equal(answers.at(-1), false);
});
