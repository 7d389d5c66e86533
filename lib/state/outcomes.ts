/**
 * What became of grants after the knock that opened them: the firewall refused one, carried it out after all, or it
 * ended before its time. Written down beside the history, whose rows are of the moment of the knock, and put together
 * with them by whoever reads.
 */

import type { DatabaseSync } from "node:sqlite";
import { numberOf, type Row, textOf } from "./schema.ts";

/** What became of a grant. */
export type WhatBecame =
  /** The firewall refused, or at last took, what the knock of `ofMs` opened. */
  | { readonly what: "failed" | "carried_out"; readonly ofMs: number }
  /** It ends, or has ended, at `endsAtMs`, before its time. */
  | { readonly what: "ended"; readonly endsAtMs: number; readonly why: string }
  /** It goes on under another client's name, `why`. */
  | { readonly what: "renamed"; readonly why: string };

/** One outcome. `client` and `address` say of which grant. */
export type Outcome =
  & { readonly atMs: number; readonly client: string; readonly address: string }
  & WhatBecame;

/** Where somebody was let in, as far as outcomes concern it. */
export interface Opening {
  readonly atMs: number;
  readonly client: string;
  readonly address: string;
  /** Whether the firewall refused it. */
  failed?: boolean;
  /** When it ended before its time, and why. */
  ended?: { readonly atMs: number; readonly why: string };
}

/** The newest word on whether the firewall has a grant, for each client and address. */
export const LAST_OUTCOMES = "SELECT client, address, what, at_ms, of_ms, max(id) FROM outcomes " +
  "WHERE what IN ('failed', 'carried_out') GROUP BY client, address";

/** The values of a row of `outcomes`. */
export function outcomeToRow(outcome: Outcome): (string | number | null)[] {
  const { atMs, what, client, address } = outcome;
  return [
    Math.trunc(atMs),
    what,
    client,
    address,
    "ofMs" in outcome ? Math.trunc(outcome.ofMs) : null,
    "endsAtMs" in outcome ? outcome.endsAtMs : null,
    "why" in outcome ? outcome.why : null,
  ];
}

/** Adds to each opening, the oldest first, what became of it. */
export function addOutcomes(database: DatabaseSync, openings: readonly Opening[]): void {
  const [first] = openings;
  if (!first) return;
  const rows = database.prepare("SELECT * FROM outcomes WHERE at_ms >= ? ORDER BY at_ms, id")
    .all(first.atMs) as Row[];
  const byMoment = new Map<string, Opening>();
  const latest = new Map<string, Opening>();
  let next = 0;
  for (const row of rows) {
    const atMs = numberOf(row, "at_ms");
    for (let each = openings[next]; each && each.atMs <= atMs; each = openings[++next]) {
      byMoment.set(`${keyOf(each)} ${each.atMs}`, each);
      latest.set(keyOf(each), each);
    }
    const key = keyOf({ client: textOf(row, "client"), address: textOf(row, "address") });
    const opening = row["of_ms"] === null
      ? latest.get(key)
      : byMoment.get(`${key} ${numberOf(row, "of_ms")}`);
    if (!opening) continue;
    const what = textOf(row, "what");
    if (what === "failed") opening.failed = true;
    else if (what === "carried_out") delete opening.failed;
    else if (what === "ended") {
      opening.ended = { atMs: numberOf(row, "ends_at_ms"), why: textOf(row, "why") };
    } else if (what === "renamed") {
      latest.set(keyOf({ client: textOf(row, "why"), address: opening.address }), opening);
    }
  }
}

/** Which grants the firewall has refused and not taken since, by {@linkcode keyOf}, with the time of that. */
export function readFailures(database: DatabaseSync): Map<string, number> {
  const rows = database.prepare(LAST_OUTCOMES).all() as Row[];
  return new Map(
    rows.filter(({ what }) => what === "failed").map((row) => [
      keyOf({ client: textOf(row, "client"), address: textOf(row, "address") }),
      numberOf(row, "at_ms"),
    ]),
  );
}

/** One text for the client and the address of a grant. */
export function keyOf({ client, address }: { client: string; address: string }): string {
  return `${client} ${address}`;
}
