/** What a server remembers of a client's key beside its nonces: uses and codes. */

import type { Address } from "./address.ts";

/** The part that outlives the process. */
export interface StoredKeyRecord {
  /** How many uses of the key have begun, as far as they were counted. */
  readonly used: number;
  /** The time step of the last code that was taken, RFC 6238's T; 0 for none. */
  readonly step: number;
  /** Wrong codes since the last one that was taken. */
  readonly wrong: number;
  /** Until when no code is taken: wall clock, whole ms since 1970; 0 for not locked. */
  readonly lockedUntilMs: number;
}

export interface KeyRecord extends StoredKeyRecord {
  /** When the last code was taken, and for which addresses. */
  readonly codeUse?: { readonly sinceMs: number; readonly addresses: readonly Address[] };
  /** The last wrong code that counted, and when: wall clock, ms since 1970. */
  readonly wrongCode?: { readonly code: number; readonly atMs: number };
}
