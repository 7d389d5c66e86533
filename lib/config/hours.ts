/**
 * The hours in which a client is let in, such as `Mon-Fri 08:00-18:00 Europe/Berlin`. Days and times are those of a
 * clock on the wall in that zone, also where summer time begins and ends: the zones are the runtime's.
 */

const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY_MINUTES = 1440;
const MINUTE_MS = 60_000;

/** A span of hours that recurs on some days of the week. */
export interface Hours {
  /** As it is written, in canonical form. */
  readonly text: string;
  /** The days on which it begins, from Monday. */
  readonly days: readonly boolean[];
  /** Minutes of the day: when it begins, and how long it lasts; it may end on the next day. */
  readonly beginsAt: number;
  readonly minutes: number;
  /** Writes times of the zone. */
  readonly zone: Intl.DateTimeFormat;
}

export const HOURS_EXPECTED = `hours such as "Mon-Fri 08:00-18:00 Europe/Berlin"`;
export const HOURS_HINT =
  `days such as Mon-Fri or Sat,Sun (none: every day), from and to in 24 hours, and a time zone such as Europe/Berlin or UTC`;

const zones = new Map<string, Intl.DateTimeFormat | undefined>();

/**
 * Reads one span of hours; `undefined` for anything else. It may go over midnight, and belongs to the day on which it
 * begins then.
 *
 * @example
 * ```ts
 * import { parseHours } from "./hours.ts";
 * if (parseHours("fri 22:00-06:00 UTC")?.text !== "Fri 22:00-06:00 UTC") throw new Error("unexpected");
 * ```
 */
export function parseHours(text: string): Hours | undefined {
  const time = "((?:[01]\\d|2[0-3]):[0-5]\\d|24:00)";
  const match = new RegExp(`^(?:([a-z,-]+) )?${time}-${time} ([a-z][\\w+/-]*)$`, "i")
    .exec(text.trim().replaceAll(/\s+/g, " "));
  if (!match) return undefined;
  const [, dayText, from, to, zoneName] = match as unknown as string[];
  const days = dayText === undefined ? DAYS.map(() => true) : parseDays(dayText);
  const zone = zoneOf(zoneName!);
  const [beginsAt, endsAt] = [from!, to!].map((each) =>
    Number(each.slice(0, 2)) * 60 + Number(each.slice(3))
  ) as [number, number];
  if (!days || !zone || beginsAt === endsAt || beginsAt === DAY_MINUTES) return undefined;
  const minutes = endsAt > beginsAt ? endsAt - beginsAt : endsAt - beginsAt + DAY_MINUTES;
  const named = dayText?.toLowerCase().replaceAll(
    /[a-z]+/g,
    (day) => day[0]!.toUpperCase() + day.slice(1),
  );
  const canonical = [...(named ? [named] : []), `${from}-${to}`, zoneName].join(" ");
  return { text: canonical, days, beginsAt, minutes, zone };
}

/** `Mon-Fri`, `Sat,Sun`, `Fri-Mon`. */
function parseDays(text: string): boolean[] | undefined {
  const days = DAYS.map(() => false);
  for (const item of text.split(",")) {
    const [first, last, ...more] = item.split("-").map((name) =>
      DAYS.findIndex((day) => day.toLowerCase() === name.toLowerCase())
    ) as [number, ...number[]];
    if (first < 0 || (last ?? 0) < 0 || more.length > 0) return undefined;
    for (let day = first;; day = (day + 1) % 7) {
      days[day] = true;
      if (day === (last ?? first)) break;
    }
  }
  return days;
}

function zoneOf(name: string): Intl.DateTimeFormat | undefined {
  if (!zones.has(name)) zones.set(name, makeZone(name));
  return zones.get(name);
}

function makeZone(timeZone: string): Intl.DateTimeFormat | undefined {
  const parts = { weekday: "short", hour: "2-digit", minute: "2-digit" } as const;
  try {
    return new Intl.DateTimeFormat("en-US", { timeZone, hourCycle: "h23", ...parts });
  } catch {
    return undefined; // there is no such zone
  }
}

/** Whether one of the spans holds at a moment, ms since 1970. */
export function holdsAt(hours: readonly Hours[], nowMs: number): boolean {
  return endOfHours(hours, nowMs, nowMs + 1) > nowMs;
}

/**
 * When the spans that hold at `nowMs` end, one following on another counted as one; at most `latestMs`. `nowMs` itself
 * where none holds. All in ms since 1970.
 */
export function endOfHours(hours: readonly Hours[], nowMs: number, latestMs: number): number {
  let atMs = nowMs;
  while (atMs < latestMs) {
    const minute = Math.floor(atMs / MINUTE_MS);
    const left = Math.max(0, ...hours.map((each) => minutesLeft(each, minute)));
    if (left === 0) return atMs;
    atMs = (minute + left) * MINUTE_MS;
  }
  return latestMs;
}

/**
 * For how many minutes from this one on the span surely holds, 0 where it does not; at most until the zone's clock is
 * changed.
 */
function minutesLeft(hours: Hours, minute: number): number {
  const now = localTime(hours.zone, minute);
  const [today, yesterday] = [0, 1].map((daysAgo) => {
    const since = now.minute + daysAgo * DAY_MINUTES - hours.beginsAt;
    return hours.days[(now.day + 7 - daysAgo) % 7] && since >= 0 ? hours.minutes - since : 0;
  }) as [number, number];
  const left = Math.max(0, today, yesterday);
  const isChanged = (after: number) =>
    localTime(hours.zone, minute + after).minute !== (now.minute + after) % DAY_MINUTES;
  if (!isChanged(left)) return left;
  // Up to the change of the clock, which is found by halves: what holds from there on is looked up anew.
  let [before, change] = [0, left];
  while (change - before > 1) {
    const middle = (before + change) >> 1;
    if (isChanged(middle)) change = middle;
    else before = middle;
  }
  return change;
}

/** What a clock on the wall shows in the zone, `minute` minutes after the beginning of 1970. */
function localTime(zone: Intl.DateTimeFormat, minute: number): { day: number; minute: number } {
  const parts = new Map(
    zone.formatToParts(minute * MINUTE_MS).map(({ type, value }) => [type, value]),
  );
  return {
    day: DAYS.indexOf(parts.get("weekday")!),
    minute: Number(parts.get("hour")) * 60 + Number(parts.get("minute")),
  };
}
