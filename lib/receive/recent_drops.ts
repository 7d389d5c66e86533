/**
 * How many datagrams of the last hour had a wrong or unknown key. Anyone can send such a datagram, so two numbers a
 * minute are kept and nothing else: no source, no line in a log, nothing on disk.
 */

/** The reasons that are counted. `decrypt`: not sealed to this server's key. `signature`: no registered client's. */
const COUNTED = ["decrypt", "signature"] as const;
type Counted = typeof COUNTED[number];

const MINUTE_MS = 60_000;
const MINUTES = 60;

/** Counts by reason. */
export type DropCounts = Readonly<Record<Counted, number>>;

/** What a person is told of them, without blame: junk is among them. Nothing where there were none. */
export function tellDrops({ decrypt, signature }: DropCounts): string[] {
  const knocks = (n: number) => `${n} knock${n === 1 ? "" : "s"} in the last hour`;
  return [
    ...(decrypt > 0
      ? [
        `${
          knocks(decrypt)
        } could not be decrypted: a client with an old or wrong server key, or junk`,
      ]
      : []),
    ...(signature > 0
      ? [
        `${
          knocks(signature)
        } had a signature of no registered client: a key that was revoked or never added`,
      ]
      : []),
  ];
}

/** A ring of minutes. Times are of a steady clock. */
export class RecentDrops {
  readonly #counts = new Map(COUNTED.map((reason) => [reason, new Float64Array(MINUTES)]));
  #minute = 0;

  /** One datagram was dropped; other reasons are ignored. */
  count(reason: string, steadyMs: number): void {
    const counts = this.#counts.get(reason as Counted);
    if (!counts) return;
    this.#turnTo(steadyMs);
    counts[this.#minute % MINUTES]!++;
  }

  /** Of the last hour: this minute, and the 59 before. */
  lastHour(steadyMs: number): DropCounts {
    this.#turnTo(steadyMs);
    const sum = (reason: Counted) => this.#counts.get(reason)!.reduce((a, b) => a + b, 0);
    return { decrypt: sum("decrypt"), signature: sum("signature") };
  }

  /** Empties the minutes that have begun since the last call. */
  #turnTo(steadyMs: number): void {
    const minute = Math.floor(steadyMs / MINUTE_MS);
    const first = Math.max(this.#minute + 1, minute - MINUTES + 1);
    for (let each = first; each <= minute; each++) {
      for (const counts of this.#counts.values()) counts[each % MINUTES] = 0;
    }
    this.#minute = Math.max(this.#minute, minute);
  }
}
