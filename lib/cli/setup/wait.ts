/** What setup waits for: the client's registration, the server's start, the first knock that opens. */

import { askServer, NotRunningError } from "../../control/socket.ts";
import type { FirewallReport } from "../../control/requests.ts";
import { type HistoryEntry, readHistory } from "../../state/read.ts";
import { pause } from "../../system/clock.ts";
import { formatDuration } from "../../values/duration.ts";
import { OpenmeError } from "../../values/errors.ts";

const LOOK_EVERY_MS = 250;
const STARTS_WITHIN_MS = 60_000;
const ENDS_WITHIN_MS = 30_000;

/** How long to wait, and what ends it early: the signal's reason is then thrown. */
export interface Patience {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Looks until `look` gives something; `undefined` where the time is over. */
export async function waitUntil<T>(
  look: () => Promise<T | undefined>,
  { timeoutMs, signal }: Patience,
): Promise<T | undefined> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() >= endMs) return undefined;
    await pause(LOOK_EVERY_MS, signal);
  }
}

/** Waits until the server takes knocks; throws where it ends before. */
export async function waitForServer(
  stateDir: string,
  { isActive, signal }: { isActive: () => Promise<boolean>; signal: AbortSignal },
): Promise<void> {
  const answered = await waitUntil(async () => {
    try {
      return await askServer(stateDir, { command: "status" });
    } catch (cause) {
      // One that ends in the middle of its answer is found out at the next look.
      if (!(cause instanceof NotRunningError)) return undefined;
      if (!await isActive()) throw endedError("the server ended as it started");
      return undefined;
    }
  }, { timeoutMs: STARTS_WITHIN_MS, signal });
  if (answered === undefined) {
    throw endedError(`the server did not start within ${formatDuration(STARTS_WITHIN_MS)}`);
  }
}

/** Waits for the first knock since `sinceMs` that the firewall has let in; throws where there is none in time. */
export async function waitForKnock(
  stateDir: string,
  { sinceMs, timeoutMs, signal }: Patience & { sinceMs: number },
): Promise<HistoryEntry> {
  const startMs = performance.now();
  const knocked = await waitUntil(async () => {
    try {
      const { failure, refused } = await askServer(stateDir, {
        command: "check",
      }) as FirewallReport;
      if (failure !== null || refused.length > 0) return undefined;
    } catch (cause) {
      if (!(cause instanceof NotRunningError)) return undefined; // as above
      const wasItsTime = performance.now() - startMs > timeoutMs - 1000;
      throw wasItsTime ? noKnockError(timeoutMs) : endedError("the server ended before its time");
    }
    return readHistory(stateDir, { client: undefined, sinceMs, limit: Number.MAX_SAFE_INTEGER })
      .find(({ event, failed }) => (event === "granted" || event === "renewed") && !failed);
    // At its end the server puts everything back and ends, so this waits a little longer.
  }, { timeoutMs: timeoutMs + ENDS_WITHIN_MS, signal });
  if (knocked) return knocked;
  throw noKnockError(timeoutMs);
}

/** `5m`, as `serve --confirm` takes it, too. */
export function spanOf(ms: number): string {
  return formatDuration(ms).replace(/(?<=[hm])0s$/, "").replace(/(?<=h)0m$/, "");
}

/** The error where nothing came in time, neither for a profile nor with one. */
export function noKnockError(timeoutMs: number, what = "no knock opened"): OpenmeError {
  return new OpenmeError("STATE", `${what} within ${spanOf(timeoutMs)}`, {
    hint: "is the UDP port open in your provider's firewall? More time: --confirm 30m",
  });
}

function endedError(why: string): OpenmeError {
  return new OpenmeError("STATE", why, { hint: "it says why: journalctl -u openme -n 20" });
}
