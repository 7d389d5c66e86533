/** A token bucket: a rate a second, with a burst. The caller passes the time, which never runs backwards. */

/** Gains `perSecond` tokens a second, and keeps at most `capacity`. It starts full. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #capacity: number;
  #tokens: number;
  #atMs: number | undefined;

  constructor({ perSecond, capacity }: { perSecond: number; capacity: number }) {
    this.#perMs = perSecond / 1000;
    this.#capacity = capacity;
    this.#tokens = capacity;
  }

  /** Takes tokens that may not be there: the debt is paid before any can be taken again. */
  charge(tokens: number): void {
    this.#tokens -= tokens;
  }

  /** How many tokens there are at this time; fewer than none while a debt is paid. */
  left(nowMs: number): number {
    const passedMs = Math.max(0, nowMs - (this.#atMs ?? nowMs));
    this.#atMs = nowMs;
    return this.#tokens = Math.min(this.#capacity, this.#tokens + passedMs * this.#perMs);
  }

  /** Takes up to `wanted` whole tokens; returns how many. */
  take(wanted: number, nowMs: number): number {
    const taken = Math.max(0, Math.min(wanted, Math.floor(this.left(nowMs))));
    this.#tokens -= taken;
    return taken;
  }
}
