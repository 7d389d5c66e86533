/** Steps of the wall clock: what it moves by that the steady clock does not. */

import type { Moment } from "../values/moment.ts";
import { wallMsOf } from "../values/moment.ts";

/** What a clock that is only slewed, as NTP does, never moves by between two looks. */
const STEP_MS = 500;

export type StepDirection = "ahead" | "back";

/** Compares two looks at a time. A machine that slept has stepped ahead: its steady clock stood still. */
export class ClockSteps {
  #offsetMs: number | undefined;

  /** Which way the wall clock was set since the last look, if it was. */
  look(now: Moment): StepDirection | undefined {
    const offsetMs = wallMsOf(now) - now.steadyMs;
    const movedMs = offsetMs - (this.#offsetMs ?? offsetMs);
    this.#offsetMs = offsetMs;
    if (Math.abs(movedMs) < STEP_MS) return undefined;
    return movedMs > 0 ? "ahead" : "back";
  }
}
