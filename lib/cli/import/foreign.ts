/** Another program's configuration as clients of openme, and the parts that have no counterpart. */

/** A client to register; it gets a new key. */
export interface ForeignClient {
  readonly name: string;
  /** Port specs, such as `22/tcp`; at least one. */
  readonly specs: readonly string[];
  /** ms since 1970. */
  readonly expiresAtMs: number | undefined;
}

/** A part of the file that was not taken over, and why. */
export interface LeftOut {
  /** From 1. */
  readonly line: number;
  readonly what: string;
  readonly why: string;
}

/** All that was found. */
export interface Foreign {
  readonly clients: readonly ForeignClient[];
  readonly leftOut: readonly LeftOut[];
}

/** A new name for a client: the file's name for it, made fit, else a number. */
export function nameFor(wanted: string, fallback: string, taken: ReadonlySet<string>): string {
  const fit = wanted.replaceAll(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z]+/, "").slice(0, 48);
  const base = fit || fallback;
  for (let n = fit ? 1 : taken.size + 1;; n++) {
    const name = fit && n === 1 ? base : `${base}-${n}`;
    if (!taken.has(name)) return name;
  }
}
