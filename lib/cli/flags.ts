/** Flags that name a time to come, or a span. */

import { EXPIRY_EXPECTED, parseExpiry } from "../config/clients.ts";
import { parseDuration } from "../values/duration.ts";
import { type Arguments, flagError, textFlag } from "./context.ts";

const DAY_MS = 86_400_000;
/** Longer than any key should live, and short enough for every calendar. */
const MOST_DAYS = 36_500;

export const SPAN_EXPECTED = `a span such as "90d" or "12h"`;

/** Reads days (`90d`) or a duration as the configuration has them (`12h`). Whole ms, `undefined` for anything else. */
export function parseSpan(text: string): number | undefined {
  const days = /^(\d{1,5})d$/.exec(text)?.[1];
  const spanMs = days === undefined ? parseDuration(text) : Number(days) * DAY_MS;
  return spanMs !== undefined && spanMs <= MOST_DAYS * DAY_MS ? spanMs : undefined;
}

/** A flag that is a span; throws where it is something else. */
export function spanFlag(args: Arguments, name: string): number | undefined {
  const text = textFlag(args, name);
  if (text === undefined) return undefined;
  const spanMs = parseSpan(text);
  if (spanMs === undefined) throw flagError(name, SPAN_EXPECTED, text);
  return spanMs;
}

/** `--expires`, a date, a time or a span from now, as the time that the configuration holds. */
export function expiresFlag(args: Arguments, nowMs: number): string | undefined {
  const text = textFlag(args, "expires");
  if (text === undefined) return undefined;
  const spanMs = parseSpan(text);
  // A span says nothing of milliseconds, and the configuration is read by people.
  const expiresAtMs = spanMs === undefined
    ? parseExpiry(text)
    : Math.trunc((nowMs + spanMs) / 1000) * 1000;
  if (expiresAtMs === undefined) {
    throw flagError("expires", `${EXPIRY_EXPECTED}, or a span such as "90d"`, text);
  }
  if (expiresAtMs <= nowMs) throw flagError("expires", "a time to come", text);
  return isoTime(expiresAtMs);
}

/** A time for people: whole seconds, UTC. */
export function formatTime(atMs: number): string {
  return isoTime(Math.trunc(atMs / 1000) * 1000);
}

function isoTime(atMs: number): string {
  return new Date(atMs).toISOString().replace(".000Z", "Z");
}
