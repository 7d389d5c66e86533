/**
 * The order in which entries get their turn: one at a time, each at most once in the queue. What opens for a fresh knock
 * goes first, but by turns with the rest, so that neither waits for all of the other.
 */

export class Turns {
  readonly #fresh = new Set<string>();
  readonly #rest = new Set<string>();
  #wasFresh = false;

  /** Whether a fresh knock waits. */
  get hasFresh(): boolean {
    return this.#fresh.size > 0;
  }

  get isEmpty(): boolean {
    return this.#fresh.size === 0 && this.#rest.size === 0;
  }

  has(key: string): boolean {
    return this.#fresh.has(key) || this.#rest.has(key);
  }

  /** A key that waits already keeps its place, unless it is fresh from now on. */
  add(key: string, { fresh }: { fresh: boolean }): void {
    if (this.#fresh.has(key)) return;
    if (!fresh) return void this.#rest.add(key);
    this.#rest.delete(key);
    this.#fresh.add(key);
  }

  /** Whether the last turn was a fresh knock's. */
  get wasFresh(): boolean {
    return this.#wasFresh;
  }

  /** Takes out whose turn it is. */
  next(): string | undefined {
    const takesFresh = this.#fresh.size > 0 && !(this.#wasFresh && this.#rest.size > 0);
    const from = takesFresh ? this.#fresh : this.#rest;
    this.#wasFresh = takesFresh;
    for (const key of from) {
      from.delete(key);
      return key;
    }
    return undefined;
  }
}
