/**
 * The history on disk: knocks that were taken, refusals, and what became of grants. One table with a row a knock; what
 * becomes of a grant later is written into the row of its knock. Rows are written a moment after the knock, all of that
 * moment in one transaction.
 */

import type { Grant } from "../grants.ts";
import { formatNetwork } from "../values/network.ts";
import type { KeyRecord } from "../values/key_record.ts";
import { formatPortRange } from "../values/ports.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { Statements } from "./statements.ts";
import type { Change } from "./writer.ts";

/** How soon after an event it is on disk: at once for a person, in batches for a flood. */
const WRITE_AFTER_MS = 50;

/** Rows of knocks for one client: the table keeps the newest 100,000 of all, and one client must not fill it. */
const ROWS = { perSecond: 1, capacity: 300 };

/** An authenticated knock whose nonce is to be remembered, with the grant that it opened, if any. */
export interface KnockRecord {
  readonly key: string;
  readonly randomNonce: Uint8Array;
  readonly timestampNs: bigint;
  readonly client: string;
  readonly atMs: number;
  /** Where the datagram came from, as text. */
  readonly source: string;
  readonly opened?: { readonly grant: Grant; readonly renewed: boolean } | undefined;
  /** Uses and codes of the key from now on, where they have changed. */
  readonly keyRecord?: KeyRecord | undefined;
}

/** A later event of a grant: its end, or an answer of the firewall. */
export type GrantEvent =
  /** The firewall refused, or took after all, what the knock of `knockedAtMs` opened. */
  | { readonly event: "failed" | "carried_out"; readonly knockedAtMs: number }
  /** It ends, or has ended, at `endsAtMs`, before its time. */
  | { readonly event: "ended"; readonly endsAtMs: number; readonly why: string }
  /** It goes on under another client's name. */
  | { readonly event: "renamed"; readonly to: string };

/** A knock of a registered client that was refused. */
export interface RefusalEvent {
  readonly event: "refused";
  readonly atMs: number;
  readonly source: string;
  readonly reason: string;
  /** How far the client's clock is ahead, where that was the reason. */
  readonly aheadMs: number | undefined;
}

/** One event of the history; `client` and `address` name the grant. */
export type HistoryEvent =
  & { readonly client: string }
  & (RefusalEvent | { readonly address: string } & GrantEvent);

/** Events that are not on disk yet, in their order. */
export class HistoryWriter {
  readonly #waiting: Change[] = [];
  readonly #inOneTransaction: (change: Change) => void;
  readonly #rows = new Map<string, TokenBucket>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(inOneTransaction: (change: Change) => void) {
    this.#inOneTransaction = inOneTransaction;
  }

  /** Adds a knock that was taken. */
  knock({ client, atMs, source, opened }: KnockRecord, steadyMs: number): void {
    const hasRow = opened !== undefined && this.#takeRow(client, steadyMs);
    this.#soon((run) => {
      run.upsertLastSeen.run(client, Math.trunc(atMs));
      if (!hasRow) return;
      const { grant, renewed } = opened;
      run.insertKnock.run(
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

  add(event: HistoryEvent): void {
    this.#soon((run) => writeEvent(run, event));
  }

  /** Puts on disk what is not there yet. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const changes = this.#waiting.splice(0);
    if (changes.length === 0) return;
    this.#inOneTransaction((run) => {
      for (const change of changes) change(run);
    });
  }

  /** Renamed and removed clients stay counted until the next start: names come from the configuration alone. */
  #takeRow(client: string, steadyMs: number): boolean {
    let rows = this.#rows.get(client);
    if (!rows) this.#rows.set(client, rows = new TokenBucket(ROWS));
    return rows.take(1, steadyMs) > 0;
  }

  #soon(change: Change): void {
    this.#waiting.push(change);
    this.#timer ??= setTimeout(() => this.flush(), WRITE_AFTER_MS);
  }
}

function writeEvent(run: Statements, event: HistoryEvent): void {
  const { client } = event;
  switch (event.event) {
    case "refused": {
      const { atMs, source, reason, aheadMs } = event;
      run.insertRefusal.run(Math.trunc(atMs), client, source, reason, aheadMs ?? null);
      return;
    }
    case "failed":
    case "carried_out": {
      const failed = event.event === "failed" ? 1 : 0;
      run.setFailed.run(failed, client, event.address, Math.trunc(event.knockedAtMs));
      return;
    }
    case "ended":
      run.setEnded.run(event.endsAtMs, event.why, client, event.address);
      return;
    case "renamed":
      run.setRenamed.run(event.to, client, event.address);
  }
}
