/**
 * Time on two clocks. The wall clock dates packets and what a person writes, and may be stepped; the steady clock
 * measures durations, and never is.
 */

/** One moment on both clocks. */
export interface Moment {
  /** Wall clock, ns since 1970. */
  readonly wallNs: bigint;
  /** Steady clock, ms; since the boot where the system tells, so that it goes on over a restart of openme. */
  readonly steadyMs: number;
}

/** A source of moments. */
export interface Clock {
  now(): Moment;
  /** Names the boot that `steadyMs` counts from; `undefined` where the system does not tell. */
  readonly bootId: string | undefined;
}

/** The wall clock of a moment in whole ms since 1970. */
export function wallMsOf({ wallNs }: Moment): number {
  return Number(wallNs / 1_000_000n);
}

/** ms since 1970 as ISO 8601 in UTC, to the millisecond. */
export function isoTime(atMs: number): string {
  return new Date(atMs).toISOString();
}
