/** Reads the stream of entries, and no faster than an honest engine has any. */

import { pause } from "../system/clock.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import { EngineFault } from "./faults.ts";
import { inTime, type Opened } from "./library.ts";

/** Entries that are read at once, and how often. */
const READ_ENTRIES = 100;
const READS = { perSecond: 100, capacity: 100 };
const READ_ON_MS = 10;
/** How long a read waits for an entry, in the engine. */
const BLOCK_MS = 1000;
const ANSWER_MS = 1000;

/** What to read. */
export interface ReadOptions {
  /** The stream's key. */
  readonly stream: string;
  /** How old entries may be at the start. */
  readonly sinceMs: number;
  /** The engine's own time. */
  readonly nowMs: number;
  /** Called for what should be an entry. */
  readonly pass: (entry: unknown) => void;
  readonly signal: AbortSignal;
}

/** Reads until it is aborted. Rejects where the engine fails. */
export async function readEntries(
  opened: Opened,
  { stream, sinceMs, nowMs, pass, signal }: ReadOptions,
): Promise<void> {
  const { redis } = opened;
  const since = (ms: number) => `${Math.max(0, Math.floor(ms - sinceMs))}-0`;
  const reads = new TokenBucket(READS);
  let last = since(nowMs);
  while (!signal.aborted) {
    while (!signal.aborted && reads.take(1, performance.now()) === 0) {
      await pause(READ_ON_MS, signal);
    }
    if (signal.aborted) return;
    const waiting = redis.xread(
      ...["COUNT", READ_ENTRIES, "BLOCK", BLOCK_MS, "STREAMS", stream, last] as const,
    );
    const answer = await inTime(waiting, BLOCK_MS + ANSWER_MS);
    const entries = answer === null ? [] : answer[0]?.[1];
    if (!Array.isArray(entries)) throw new EngineFault("protocol");
    for (const [id, fields] of entries) {
      last = String(id);
      pass(fields?.[1]);
    }
    if (entries.length > 0) continue;
    // An engine that has lost the stream, and whose clock was set back, numbers entries below the last one.
    const [newest] = await inTime(redis.xrevrange(stream, "+", "-", "COUNT", 1), ANSWER_MS);
    if (!newest || isBefore(newest[0], last)) last = since(await timeOf(opened));
  }
}

/** ms since 1970 by the engine's clock. */
export async function timeOf({ redis }: Opened): Promise<number> {
  const [seconds] = await inTime(redis.time(), ANSWER_MS);
  const ms = Number(seconds) * 1000;
  if (!Number.isSafeInteger(ms)) throw new EngineFault("protocol");
  return ms;
}

function isBefore(id: string, other: string): boolean {
  const [[ms = 0, count = 0], [otherMs = 0, otherCount = 0]] = [id, other].map((each) =>
    String(each).split("-").map(Number)
  ) as [number[], number[]];
  return ms < otherMs || ms === otherMs && count < otherCount;
}
