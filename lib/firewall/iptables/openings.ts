/** The openings in force, each with the date of its end: iptables writes all of them anew at every change. */

import { formatNetwork } from "../../values/network.ts";
import type { ClientOpenings } from "../backend.ts";
import type { DatedOpening } from "./rules.ts";

export class DatedOpenings {
  #version = 0;
  readonly #byAddress = new Map<string, readonly DatedOpening[]>();

  /** The number of changes so far. */
  get version(): number {
    return this.#version;
  }

  clear(): void {
    this.#byAddress.clear();
  }

  /** Each of these addresses has what is listed for it, from now on. Gives the new version. */
  change(changes: readonly ClientOpenings[]): number {
    const nowMs = Date.now();
    for (const { address, openings } of changes) {
      const dated = openings.map(({ timeoutMs, ...ports }) => ({
        address,
        ports,
        endsAtMs: nowMs + timeoutMs,
      }));
      this.#byAddress.set(formatNetwork(address), dated);
    }
    for (const [text, dated] of this.#byAddress) {
      if (dated.every(({ endsAtMs }) => endsAtMs <= nowMs)) this.#byAddress.delete(text);
    }
    return ++this.#version;
  }

  all(): DatedOpening[] {
    return [...this.#byAddress.values()].flat();
  }
}
