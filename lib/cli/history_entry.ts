/** An entry of the history as JSON, and in words. */

import { causeOf } from "../receive/refusal_causes.ts";
import type { RefusalReason } from "../receive/refusals.ts";
import type { HistoryEntry } from "../state/read.ts";
import { formatDuration } from "../values/duration.ts";
import { isoTime } from "./context.ts";

/** An entry with its ports as text. */
export type ShownEntry = Omit<HistoryEntry, "ports"> & { readonly ports: readonly string[] };

/** What `--json` prints. */
export function describeEntry(entry: ShownEntry) {
  const { atMs, event, client, source, address, ports, expiresAtMs, reason, aheadMs } = entry;
  const at = isoTime(atMs);
  if (reason !== undefined) {
    return {
      at,
      event,
      client,
      source,
      reason,
      ...(aheadMs === undefined ? {} : { "clock_ahead_ms": aheadMs }),
      cause: causeOf(reason as RefusalReason, aheadMs),
    };
  }
  const end = expiresAtMs === undefined ? null : isoTime(expiresAtMs);
  const { failed, ended } = entry;
  return {
    at,
    event,
    client,
    source,
    address,
    ports,
    "expires_at": end,
    ...(failed ? { failed } : {}),
    ...(ended ? { "ended_at": isoTime(ended.atMs), "ended_why": ended.why } : {}),
  };
}

/** What happened. */
export function inWords(entry: ShownEntry): string {
  const { event, source, address, ports, reason, aheadMs, failed } = entry;
  if (reason !== undefined) {
    return `refused (${reason}): ${causeOf(reason as RefusalReason, aheadMs)}`;
  }
  const whom = address === source ? "" : ` ${address}`;
  const what = `${whom}: ${ports.join(" ") || "the health port"}`;
  if (failed) {
    return `not ${event === "renewed" ? "renewed" : "let in"}${what}: the firewall refused`;
  }
  return `${event === "renewed" ? "renewed" : "let in"}${what} for ${howLong(entry)}`;
}

/** To the second; a grant that was ended within 10 s to the tenth. */
function howLong({ atMs, expiresAtMs, ended }: ShownEntry): string {
  const untilMs = ended?.atMs ?? expiresAtMs ?? atMs;
  const lastedMs = Math.max(0, untilMs - atMs);
  const stepMs = ended && lastedMs < 10_000 ? 100 : 1000;
  const lasted = formatDuration(Math.round(lastedMs / stepMs) * stepMs);
  return ended ? `${lasted} (${ended.why})` : lasted;
}
