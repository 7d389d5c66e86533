/**
 * How many datagrams of the last hour had a wrong or unknown key. Anyone can send such a datagram, so two numbers a
 * minute are kept and nothing else: no source, no line in a log, nothing on disk.
 */

/** The reasons that are counted. `decrypt`: not sealed to this server's key. `signature`: no registered client's. */
type Counted = "decrypt" | "signature";

const MINUTE_MS = 60_000;
const MINUTES = 60;

/** Counts by reason. */
export type DropCounts = Readonly<Record<Counted, number>>;

/** What a person is told of them, without blame: junk is among them. Nothing where there were none. */
export function tellDrops({ decrypt, signature }: DropCounts): string[] {
  const knocks = (n: number) => `${n} knock${n === 1 ? "" : "s"} in the last hour`;
  const told: string[] = [];
  if (decrypt > 0) {
    told.push(
      `${
        knocks(decrypt)
      } could not be decrypted: a client with an old or wrong server key, or junk`,
    );
  }
  if (signature > 0) {
    told.push(
      `${knocks(signature)} had a signature of no registered client: ` +
        "a key that was revoked or never added",
    );
  }
  return told;
}

/** The minutes of the last hour. Times are of a steady clock. */
export class RecentDrops {
  #minutes: { readonly minute: number; readonly counts: Record<Counted, number> }[] = [];

  /** So many datagrams were dropped; other reasons are ignored. */
  count(reason: string, steadyMs: number, datagrams = 1): void {
    if (reason !== "decrypt" && reason !== "signature") return;
    const minute = this.#forget(steadyMs);
    let latest = this.#minutes.at(-1);
    if (latest?.minute !== minute) {
      latest = { minute, counts: { decrypt: 0, signature: 0 } };
      this.#minutes.push(latest);
    }
    latest.counts[reason] += datagrams;
  }

  /** Of this minute, and the 59 before. */
  lastHour(steadyMs: number): DropCounts {
    this.#forget(steadyMs);
    const sum = (reason: Counted) =>
      this.#minutes.reduce((total, { counts }) => total + counts[reason], 0);
    return { decrypt: sum("decrypt"), signature: sum("signature") };
  }

  /** Forgets what is older than an hour; returns the minute of now. */
  #forget(steadyMs: number): number {
    const now = Math.floor(steadyMs / MINUTE_MS);
    while (this.#minutes[0] && this.#minutes[0].minute <= now - MINUTES) this.#minutes.shift();
    return now;
  }
}
