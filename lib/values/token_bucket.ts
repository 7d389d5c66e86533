/** A budget by the second that can be saved up for a moment. The time comes in; it only ever goes on. */

/** `perSecond` tokens come in each second, at most `capacity` are kept. */
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

  /** Takes so many, whether they are there or not: what is owed comes in before there are any again. */
  charge(tokens: number): void {
    this.#tokens -= tokens;
  }

  /** Takes up to `wanted` whole tokens; gives how many there were. */
  take(wanted: number, nowMs: number): number {
    const passedMs = Math.max(0, nowMs - (this.#atMs ?? nowMs));
    this.#atMs = nowMs;
    this.#tokens = Math.min(this.#capacity, this.#tokens + passedMs * this.#perMs);
    const taken = Math.max(0, Math.min(wanted, Math.floor(this.#tokens)));
    this.#tokens -= taken;
    return taken;
  }
}
