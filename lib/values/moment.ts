/**
 * Time as the core takes it: a moment on two time lines. What a packet or a person dates is on the wall clock, which may
 * be stepped; how long something lasts is on the steady one, which may not.
 */

/** One moment. */
export interface Moment {
  /** Wall clock, ns since 1970. */
  readonly wallNs: bigint;
  /** Steady clock, ms; since the machine's boot where that can be known, so that it goes on across a restart. */
  readonly steadyMs: number;
}

/** Where an edge gets its moments from. */
export interface Clock {
  now(): Moment;
  /** Names the boot that `steadyMs` counts from; `undefined` where that cannot be known. */
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
