/** Who was let in, and for how long, as the kernel has it: read in quick succession while a test does other things. */

import type { Lab } from "../e2e/lab.ts";
import { pause } from "../support/wait.ts";
import { letIn } from "./siege.ts";

/** From when to when an address was seen to be let in: ms, as `performance.now()` counts. */
export interface Stay {
  readonly fromMs: number;
  toMs: number;
}

/** Stays by address; more than one where somebody was let in again. */
export class LetInWatch implements AsyncDisposable {
  readonly stays = new Map<string, Stay[]>();
  readonly #lab: Lab;
  readonly #ended: Promise<void>;
  #goesOn = true;
  #before = new Set<string>();

  constructor(lab: Lab) {
    this.#lab = lab;
    this.#ended = this.#watch();
  }

  /** Whether nobody is let in any more. */
  get isEmpty(): boolean {
    return this.#before.size === 0;
  }

  async #watch(): Promise<void> {
    while (this.#goesOn) {
      const now = await letIn(this.#lab).catch(() => undefined); // before there is a table
      const atMs = performance.now();
      for (const address of now ?? []) {
        const stays = this.stays.get(address) ?? [];
        this.stays.set(address, stays);
        if (this.#before.has(address)) stays.at(-1)!.toMs = atMs;
        else stays.push({ fromMs: atMs, toMs: atMs });
      }
      this.#before = now ?? this.#before;
      await pause(100);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#goesOn = false;
    await this.#ended;
  }
}
