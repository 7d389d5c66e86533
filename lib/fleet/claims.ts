/** Which knocks are this host's to open: each is claimed at the engine once, and later where that was away. Bounded. */

import type { Clock } from "../values/moment.ts";
import type { Engine } from "./engine.ts";

/** Claims that are remembered, and with them that nobody has to be asked again. */
const MOST_CLAIMS = 4096;

/** The claims of one host. */
export class Claims {
  readonly #clock: Clock;
  /** By name: whether it is this host's. */
  readonly #asked = new Map<string, Promise<boolean | undefined>>();
  /** Names that could not be claimed when their knocks came, and until when that is worth it, ms of the steady clock. */
  readonly #missed = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many are remembered. */
  get size(): number {
    return this.#asked.size;
  }

  /** Whether this host has the knock of this name for so long; `undefined` where the engine cannot say in time. */
  async claim(
    engine: Engine | undefined,
    name: string,
    forMs: number,
  ): Promise<boolean | undefined> {
    const known = await this.#asked.get(name);
    if (known !== undefined) return known;
    const asked = engine?.claim(name, forMs).catch(() => undefined) ?? Promise.resolve(undefined);
    keep(this.#asked, name, asked);
    const isOurs = await asked;
    if (isOurs === undefined) keep(this.#missed, name, this.#clock.now().steadyMs + forMs);
    return isOurs;
  }

  /** Claims what came while the engine was away: those who watched it then would be let in with it at other hosts. */
  async claimMissed(engine: Engine | undefined): Promise<void> {
    for (const [name, untilSteadyMs] of this.#missed) {
      const leftMs = Math.round(untilSteadyMs - this.#clock.now().steadyMs);
      try {
        if (leftMs > 0) await engine?.claim(name, leftMs);
      } catch {
        return; // away again
      }
      this.#missed.delete(name);
    }
  }
}

/** The oldest gives way. */
function keep<T>(map: Map<string, T>, name: string, value: T): void {
  map.set(name, value);
  if (map.size > MOST_CLAIMS) map.delete(map.keys().next().value!);
}
