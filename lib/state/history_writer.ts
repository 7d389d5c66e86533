/**
 * What tells the story beside what decides: the history, refusals, outcomes, and when a client was last seen. It follows
 * a moment after the knock, for all knocks of that moment in one transaction. Of a client that knocks all the time only a
 * row a second is kept, or it would wash out everybody's.
 */

import type { Grant } from "../grants.ts";
import { formatNetwork } from "../values/network.ts";
import { formatPortRange } from "../values/ports.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import { type Outcome, outcomeToRow } from "./outcomes.ts";
import type { Statements } from "./statements.ts";

/** How soon after a knock its history is on disk: at once for a person, in batches for a flood. */
const TELL_AFTER_MS = 50;

/** An authenticated knock whose nonce is to be remembered, with the grant that it opened, if any. */
export interface KnockRecord {
  readonly key: string;
  readonly randomNonce: Uint8Array;
  readonly timestampNs: bigint;
  readonly client: string;
  readonly atMs: number;
  /** Where the datagram came from, as text. */
  readonly source: string;
  readonly opened: { readonly grant: Grant; readonly renewed: boolean } | undefined;
}

/** A registered client's knock that was refused, as the history tells it. */
export interface RefusalRecord {
  readonly atMs: number;
  readonly client: string;
  readonly source: string;
  readonly reason: string;
  /** How far the client's clock is ahead, where that was the reason. */
  readonly aheadMs: number | undefined;
}

/** Rows of the history that one client may add: the table holds the newest 100,000 of all. */
const ROWS = { perSecond: 1, capacity: 300 };

type Write = (run: Statements) => void;

/** The story that is not on disk yet, in its order. */
export class Story {
  readonly #untold: Write[] = [];
  readonly #inOneTransaction: (write: Write) => void;
  readonly #rows = new Map<string, TokenBucket>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(inOneTransaction: (write: Write) => void) {
    this.#inOneTransaction = inOneTransaction;
  }

  knock({ client, atMs, source, opened }: KnockRecord, steadyMs: number): void {
    const hasRow = opened !== undefined && this.#takeRow(client, steadyMs);
    this.#soon((run) => {
      run.upsertLastSeen.run(client, Math.trunc(atMs));
      if (!hasRow) return;
      const { grant, renewed } = opened;
      run.insertHistory.run(
        Math.trunc(atMs),
        renewed ? "renewed" : "granted",
        grant.client,
        source,
        formatNetwork(grant.address),
        grant.ports.map(formatPortRange).join(" "),
        grant.expiresAtMs,
      );
    });
  }

  refusal({ atMs, client, source, reason, aheadMs }: RefusalRecord): void {
    this.#soon((run) =>
      run.insertRefusal.run(Math.trunc(atMs), client, source, reason, aheadMs ?? null)
    );
  }

  outcome(outcome: Outcome): void {
    this.#soon((run) => run.insertOutcome.run(...outcomeToRow(outcome)));
  }

  /** Puts on disk what is not there yet. */
  tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const writes = this.#untold.splice(0);
    if (writes.length === 0) return;
    this.#inOneTransaction((run) => {
      for (const write of writes) write(run);
    });
  }

  /** Renamed and removed clients stay counted until the next start: names come from the configuration alone. */
  #takeRow(client: string, steadyMs: number): boolean {
    let rows = this.#rows.get(client);
    if (!rows) this.#rows.set(client, rows = new TokenBucket(ROWS));
    return rows.take(1, steadyMs) > 0;
  }

  #soon(write: Write): void {
    this.#untold.push(write);
    this.#timer ??= setTimeout(() => this.tell(), TELL_AFTER_MS);
  }
}
