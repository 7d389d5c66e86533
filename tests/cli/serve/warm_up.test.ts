/** The warm-up before the first knock: it ends with the server, and takes nothing with it. */

import { warmUp } from "../../../lib/cli/serve/warm_up.ts";
import { pause, within } from "../../support/wait.ts";
import { SERVER_PRIVATE_KEY, SERVER_PUBLIC_KEY } from "../../support/knocks.ts";
import assert from "node:assert/strict";

Deno.test("warmUp() ends by itself, and at once where the server stops", async () => {
  const keys = { privateKey: SERVER_PRIVATE_KEY, publicKey: SERVER_PUBLIC_KEY };
  const stop = new AbortController();
  const stopped = warmUp(keys, stop.signal).then(() => "ended");
  await pause(20);
  stop.abort();
  assert.equal(await within(stopped, 1000, "goes on"), "ended");
  const whole = warmUp(keys, new AbortController().signal).then(() => "ended");
  assert.equal(await within(whole, 30_000, "goes on"), "ended");
});
