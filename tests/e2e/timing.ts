/** When a port opens and closes: what "closed by the kernel within a second" means, as an assertion. */

import assert from "node:assert/strict";
import type { Agent } from "./agent_client.ts";
import { waitFor } from "../support/wait.ts";

/** How late the kernel may close. */
const LATE_MS = 1000;
/** How long an attempt may be under way before its packet is sent, on a busy machine. */
const EARLY_MS = 500;

/** Waits until a TCP port is open. It asks in quick succession, since a test may go on to measure from then. */
export async function opens(agent: Agent, host: string, port: number): Promise<void> {
  const options = { everyMs: 10 };
  await waitFor(`${host} ${port} to open`, () => agent.reaches(host, port, 100), options);
}

/**
 * Waits until `isOpen` says no. Fails where that is before `fromMs`, the earliest end of the grant, or more than a
 * second after `toMs`, its latest end (both as `performance.now()` counts): the two differ because a test knows only
 * between which moments the knock was taken.
 */
export async function closesOnTime(
  isOpen: () => Promise<boolean>,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): Promise<void> {
  let attemptMs = performance.now();
  await waitFor("the port to close", async () => {
    attemptMs = performance.now();
    return !await isOpen();
  }, { timeoutMs: toMs + LATE_MS - attemptMs, everyMs: 20 });
  assert.ok(attemptMs > fromMs - EARLY_MS, `closed ${fromMs - attemptMs} ms early`);
}
