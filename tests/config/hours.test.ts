/** `lib/config/hours.ts`: which hours hold, minute by minute, also where summer time begins and ends. */

import assert from "node:assert/strict";
import { endOfHours, holdsAt, parseHours } from "../../lib/config/hours.ts";
import { must } from "../support/knocks.ts";

const hours = (...texts: string[]) => texts.map((text) => must(parseHours(text)));
const DAY_MS = 86_400_000;

/** 2026-11-30 is a Monday. */
const EDGES: readonly { hours: string | string[]; at: string; holds: boolean }[] = [
  // Europe/Berlin is one hour ahead of UTC in winter.
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-11-30T06:59:59.999Z", holds: false },
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-11-30T07:00:00Z", holds: true },
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-11-30T16:59:59.999Z", holds: true },
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-11-30T17:00:00Z", holds: false },
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-12-04T16:59:00Z", holds: true }, // Friday
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-12-05T12:00:00Z", holds: false },
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-11-29T12:00:00Z", holds: false },
  // The same hours in summer, an hour earlier in UTC.
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-07-01T05:59:00Z", holds: false },
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-07-01T06:00:00Z", holds: true },
  { hours: "Mon-Fri 08:00-18:00 Europe/Berlin", at: "2026-07-01T16:00:00Z", holds: false },
  // The day is that of the zone.
  { hours: "Mon 00:00-01:00 Pacific/Auckland", at: "2026-11-29T10:59:00Z", holds: false },
  { hours: "Mon 00:00-01:00 Pacific/Auckland", at: "2026-11-29T11:00:00Z", holds: true },
  { hours: "Mon 00:00-01:00 Pacific/Auckland", at: "2026-11-29T12:00:00Z", holds: false },
  // Without days: every day. A zone half an hour off.
  { hours: "09:00-17:00 Asia/Kolkata", at: "2026-11-29T03:29:00Z", holds: false },
  { hours: "09:00-17:00 Asia/Kolkata", at: "2026-11-29T03:30:00Z", holds: true },
  // Over midnight: of the day on which it begins.
  { hours: "Fri 22:00-06:00 UTC", at: "2026-12-04T21:59:00Z", holds: false },
  { hours: "Fri 22:00-06:00 UTC", at: "2026-12-04T22:00:00Z", holds: true },
  { hours: "Fri 22:00-06:00 UTC", at: "2026-12-05T05:59:00Z", holds: true },
  { hours: "Fri 22:00-06:00 UTC", at: "2026-12-05T06:00:00Z", holds: false },
  { hours: "Fri 22:00-06:00 UTC", at: "2026-12-04T05:59:00Z", holds: false }, // Thursday's night
  { hours: "Sun 22:00-06:00 UTC", at: "2026-11-30T05:59:00Z", holds: true }, // over the week's end
  { hours: "Sun 22:00-06:00 UTC", at: "2026-11-30T22:00:00Z", holds: false },
  // Until midnight, and whole days.
  { hours: "Mon 20:00-24:00 UTC", at: "2026-11-30T23:59:59Z", holds: true },
  { hours: "Mon 20:00-24:00 UTC", at: "2026-12-01T00:00:00Z", holds: false },
  { hours: "Sat,Sun 00:00-24:00 UTC", at: "2026-11-29T23:59:59Z", holds: true },
  { hours: "Sat,Sun 00:00-24:00 UTC", at: "2026-11-30T00:00:00Z", holds: false },
  { hours: "Fri-Mon 10:00-11:00 UTC", at: "2026-11-30T10:00:00Z", holds: true },
  { hours: "Fri-Mon 10:00-11:00 UTC", at: "2026-12-01T10:00:00Z", holds: false },
  // One of several is enough.
  {
    hours: ["Mon 08:00-09:00 UTC", "Mon 12:00-13:00 UTC"],
    at: "2026-11-30T09:00:00Z",
    holds: false,
  },
  {
    hours: ["Mon 08:00-09:00 UTC", "Mon 12:00-13:00 UTC"],
    at: "2026-11-30T12:00:00Z",
    holds: true,
  },
  // Summer time begins on 2026-03-29 at 01:00 UTC: after 01:59 comes 03:00.
  { hours: "01:00-04:00 Europe/Berlin", at: "2026-03-28T23:59:00Z", holds: false },
  { hours: "01:00-04:00 Europe/Berlin", at: "2026-03-29T00:00:00Z", holds: true },
  { hours: "01:00-04:00 Europe/Berlin", at: "2026-03-29T01:59:00Z", holds: true }, // 03:59
  { hours: "01:00-04:00 Europe/Berlin", at: "2026-03-29T02:00:00Z", holds: false }, // 04:00
  { hours: "02:00-03:00 Europe/Berlin", at: "2026-03-29T00:59:00Z", holds: false }, // never that night
  { hours: "02:00-03:00 Europe/Berlin", at: "2026-03-29T01:00:00Z", holds: false },
  // It ends on 2026-10-25 at 01:00 UTC: after 02:59 comes 02:00 again.
  { hours: "01:00-04:00 Europe/Berlin", at: "2026-10-24T22:59:00Z", holds: false },
  { hours: "01:00-04:00 Europe/Berlin", at: "2026-10-24T23:00:00Z", holds: true },
  { hours: "01:00-04:00 Europe/Berlin", at: "2026-10-25T02:59:00Z", holds: true },
  { hours: "01:00-04:00 Europe/Berlin", at: "2026-10-25T03:00:00Z", holds: false },
  { hours: "02:00-03:00 Europe/Berlin", at: "2026-10-25T00:00:00Z", holds: true }, // 02:00, twice
  { hours: "02:00-03:00 Europe/Berlin", at: "2026-10-25T01:00:00Z", holds: true },
  { hours: "02:00-03:00 Europe/Berlin", at: "2026-10-25T02:00:00Z", holds: false },
];

Deno.test("holdsAt() follows a clock on the wall of the zone, to the minute", () => {
  for (const { hours: texts, at, holds } of EDGES) {
    assert.equal(holdsAt(hours(...[texts].flat()), Date.parse(at)), holds, `${texts} at ${at}`);
  }
});

const ENDS: readonly { hours: string[]; from: string; end: string }[] = [
  { hours: ["Mon 08:00-18:00 UTC"], from: "2026-11-30T17:59:30.5Z", end: "2026-11-30T18:00:00Z" },
  { hours: ["Mon 08:00-18:00 UTC"], from: "2026-11-30T18:00:00Z", end: "2026-11-30T18:00:00Z" },
  // One follows on the other, in another zone too.
  {
    hours: ["Mon 08:00-12:00 UTC", "Mon 13:00-14:30 Europe/Berlin"],
    from: "2026-11-30T11:00:00Z",
    end: "2026-11-30T13:30:00Z",
  },
  { hours: ["Fri 22:00-06:00 UTC"], from: "2026-12-04T23:30:00Z", end: "2026-12-05T06:00:00Z" },
  { hours: ["Mon 20:00-24:00 UTC"], from: "2026-11-30T23:00:00Z", end: "2026-12-01T00:00:00Z" },
  // Not longer than it is asked for.
  { hours: ["00:00-24:00 UTC"], from: "2026-11-30T12:00:00Z", end: "2026-12-01T12:00:00Z" },
  // Over both changes of the clock; 02:30 is skipped in the first, and there twice in the second.
  {
    hours: ["22:00-06:00 Europe/Berlin"],
    from: "2026-03-28T22:00:00Z",
    end: "2026-03-29T04:00:00Z",
  },
  {
    hours: ["22:00-02:30 Europe/Berlin"],
    from: "2026-03-28T22:00:00Z",
    end: "2026-03-29T01:00:00Z",
  },
  {
    hours: ["22:00-06:00 Europe/Berlin"],
    from: "2026-10-24T21:00:00Z",
    end: "2026-10-25T05:00:00Z",
  },
  {
    hours: ["22:00-02:30 Europe/Berlin"],
    from: "2026-10-24T21:00:00Z",
    end: "2026-10-25T00:30:00Z",
  },
  {
    hours: ["22:00-02:30 Europe/Berlin"],
    from: "2026-10-25T01:00:00Z",
    end: "2026-10-25T01:30:00Z",
  },
];

Deno.test("endOfHours() is the first moment after which none holds", () => {
  for (const { hours: texts, from, end } of ENDS) {
    const fromMs = Date.parse(from);
    const found = endOfHours(hours(...texts), fromMs, fromMs + DAY_MS);
    assert.equal(new Date(found).toISOString(), new Date(end).toISOString(), `${texts} ${from}`);
  }
});

Deno.test("endOfHours() agrees with holdsAt() at every minute of the days around both changes", () => {
  const sets = [
    hours("22:00-02:30 Europe/Berlin"),
    hours("02:00-03:00 Europe/Berlin"),
    hours("Sun 01:30-02:30 America/New_York", "Sat 23:00-01:45 Europe/London"),
    hours("01:45-02:15 Australia/Lord_Howe"), // half an hour of summer time
  ];
  for (const each of sets) {
    for (const day of ["2026-03-28", "2026-10-24", "2026-04-04", "2026-10-03", "2026-11-01"]) {
      const fromMs = Date.parse(`${day}T12:00:00Z`);
      for (let atMs = fromMs; atMs < fromMs + DAY_MS; atMs += 7 * 60_000) {
        let expectedMs = atMs;
        while (expectedMs < atMs + DAY_MS / 4 && holdsAt(each, expectedMs)) expectedMs += 60_000;
        const found = endOfHours(each, atMs, atMs + DAY_MS / 4);
        assert.equal(found, expectedMs, `${each[0]!.text} ${new Date(atMs).toISOString()}`);
      }
    }
  }
});

Deno.test("parseHours() writes what it reads in one way, and refuses everything else", () => {
  assert.equal(
    parseHours("  mon-FRI   08:00-18:00  Europe/Berlin ")?.text,
    "Mon-Fri 08:00-18:00 Europe/Berlin",
  );
  assert.equal(parseHours("00:00-24:00 UTC")?.text, "00:00-24:00 UTC");
  for (
    const text of [
      "",
      "Mon-Fri",
      "08:00-18:00", // without a zone: whose clock?
      "Mon-Fri 08:00-18:00",
      "Mon-Fri 8:00-18:00 UTC",
      "Mon-Fri 08:00-18:00 Europe/Atlantis",
      "Mon-Fri 08:00-18:00 +02:00",
      "Mon-Fri 08:00-08:00 UTC",
      "Mon-Fri 24:00-08:00 UTC",
      "Mon-Fri 08:00-24:30 UTC",
      "Mon-Fri 08:60-18:00 UTC",
      "Mon-Fri-Sun 08:00-18:00 UTC",
      "Mon, 08:00-18:00 UTC",
      "Monday 08:00-18:00 UTC",
      "Mon-Fri 08:00-18:00 UTC UTC",
    ]
  ) assert.equal(parseHours(text), undefined, text);
});
