/** Waiting for a state instead of for a time: what keeps the tests both quick and steady. */

/** How long and how often to look. */
export interface WaitOptions {
  /** @default {15000} */
  readonly timeoutMs?: number;
  /** @default {50} */
  readonly everyMs?: number;
}

/** Polls `condition` until it gives something truthy, and returns that. Rejects when the time is over. */
export async function waitFor<T>(
  description: string,
  condition: () => T | Promise<T>,
  { timeoutMs = 15_000, everyMs = 50 }: WaitOptions = {},
): Promise<NonNullable<T>> {
  const startMs = performance.now();
  while (true) {
    const found = await condition();
    if (found) return found;
    if (performance.now() - startMs >= timeoutMs) {
      throw new Error(`timed out after ${timeoutMs} ms waiting for ${description}`);
    }
    await pause(everyMs);
  }
}

/** The value of `promise`, or `fallback` when it takes longer than `timeoutMs`. */
export async function within<T, U>(promise: Promise<T>, timeoutMs: number, fallback: U) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<U>((resolve) => timer = setTimeout(() => resolve(fallback), timeoutMs));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * {@linkcode within}, in time that this process had: a timer alone would win over an answer that came while a busy
 * machine ran others.
 */
export async function withinTurns<T, U>(promise: Promise<T>, timeoutMs: number, fallback: U) {
  const answered = promise.then((value) => ({ value }));
  for (let turns = Math.ceil(timeoutMs / TURN_MS); turns > 0; turns--) {
    const answer = await within(answered, TURN_MS, undefined);
    if (answer) return answer.value;
  }
  return fallback;
}

const TURN_MS = 20;

/** For polling, and for the few cases where the passing of time itself is what a test is about. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
