/** Bytes that only have to be different, and the same for the same seed. */

import type { Bytes } from "../../lib/crypto/keys.ts";

/** mulberry32. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  }

  bytes(size: number): Bytes {
    return Uint8Array.from({ length: size }, () => this.below(256));
  }
}
