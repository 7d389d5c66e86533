/** Durations: Go's spelling, whole milliseconds, nothing finer. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { formatDuration, parseDuration } from "../../lib/values/duration.ts";

Deno.test("parseDuration() reads a duration, formatDuration() writes it as Go does", () => {
  const rows = [
    { text: "0", durationMs: 0, canonical: "0s" },
    { text: "0s", durationMs: 0, canonical: "0s" },
    { text: "0h", durationMs: 0, canonical: "0s" },
    { text: "1ms", durationMs: 1, canonical: "1ms" },
    { text: "500ms", durationMs: 500, canonical: "500ms" },
    { text: "30s", durationMs: 30_000, canonical: "30s" },
    { text: "030s", durationMs: 30_000, canonical: "30s" },
    { text: "1000ms", durationMs: 1000, canonical: "1s" },
    { text: "1.5s", durationMs: 1500, canonical: "1.5s" },
    { text: "1.1s", durationMs: 1100, canonical: "1.1s" },
    { text: "1.001s", durationMs: 1001, canonical: "1.001s" },
    { text: "1.010s", durationMs: 1010, canonical: "1.01s" },
    { text: "1.0ms", durationMs: 1, canonical: "1ms" },
    { text: "60s", durationMs: 60_000, canonical: "1m0s" },
    { text: "1m0s", durationMs: 60_000, canonical: "1m0s" },
    { text: "1m30s", durationMs: 90_000, canonical: "1m30s" },
    { text: "30s1m", durationMs: 90_000, canonical: "1m30s" },
    { text: "1.5m", durationMs: 90_000, canonical: "1m30s" },
    { text: "0.0005m", durationMs: 30, canonical: "30ms" },
    { text: "90m", durationMs: 5_400_000, canonical: "1h30m0s" },
    { text: "1h", durationMs: 3_600_000, canonical: "1h0m0s" },
    { text: "1h0m0.5s", durationMs: 3_600_500, canonical: "1h0m0.5s" },
    { text: "1h30m", durationMs: 5_400_000, canonical: "1h30m0s" },
    { text: "24h", durationMs: 86_400_000, canonical: "24h0m0s" },
    { text: "1.0000000000000000000000000000s", durationMs: 1000, canonical: "1s" },
    {
      text: "9007199254740991ms",
      durationMs: Number.MAX_SAFE_INTEGER,
      canonical: "2501999792h59m0.991s",
    },
  ];
  for (const { text, durationMs, canonical } of rows) {
    assert.equal(parseDuration(text), durationMs, text);
    assert.equal(formatDuration(durationMs), canonical);
  }
});

Deno.test("parseDuration() refuses everything else", () => {
  const rows = [
    { text: "", why: "nothing" },
    { text: "30", why: "no unit" },
    { text: "00", why: "no unit" },
    { text: "0.0", why: "no unit" },
    { text: "s", why: "no number" },
    { text: "30 s", why: "space" },
    { text: " 30s", why: "space" },
    { text: "30s\n", why: "line break" },
    { text: "1m 30s", why: "space" },
    { text: "1m,30s", why: "comma" },
    { text: "1,5s", why: "decimal comma" },
    { text: "-30s", why: "negative" },
    { text: "+30s", why: "sign" },
    { text: "30S", why: "capitals" },
    { text: "30sec", why: "not Go's unit" },
    { text: "1d", why: "not Go's unit" },
    { text: "1w", why: "not Go's unit" },
    { text: ".5s", why: "nothing before the point" },
    { text: "1.s", why: "nothing behind the point" },
    { text: "1.2.3s", why: "two points" },
    { text: "1e3s", why: "exponent" },
    { text: "0x1es", why: "hex" },
    { text: "Infinitys", why: "not a number" },
    { text: "\u0663\u0660s", why: "digits that are not ASCII" },
    { text: "1us", why: "finer than a millisecond" },
    { text: "1\u00b5s", why: "finer than a millisecond" },
    { text: "1000000ns", why: "finer than a millisecond" },
    { text: "0.5ms", why: "finer than a millisecond" },
    { text: "1.0005s", why: "finer than a millisecond" },
    { text: "0.00001m", why: "finer than a millisecond" },
    { text: "0.9999999999999999999s", why: "finer than a millisecond, though not to a double" },
    { text: "0.3333333333333333333h", why: "finer than a millisecond, though not to a double" },
    { text: "9007199254740992ms", why: "more than a double counts" },
    { text: "9007199254740991ms1ms", why: "more than a double counts" },
    { text: "99999999999999999999h", why: "more than a double counts" },
    { text: "1s".repeat(21), why: "long" },
    { text: "0".repeat(100_000) + "s", why: "long" },
  ];
  for (const { text, why } of rows) {
    assert.equal(parseDuration(text), undefined, `${text.slice(0, 50)}: ${why}`);
  }
});

Deno.test("parseDuration() inverts formatDuration()", () => {
  fc.assert(fc.property(fc.maxSafeNat(), (durationMs) => {
    assert.equal(parseDuration(formatDuration(durationMs)), durationMs);
  }));
  const common = fc.nat(100_000_000);
  fc.assert(fc.property(common, (durationMs) => {
    assert.equal(parseDuration(formatDuration(durationMs)), durationMs);
  }));
});

const UNIT_MS = { ms: 1n, s: 1000n, m: 60_000n, h: 3_600_000n };

Deno.test("parseDuration() is exact: it counts as fractions of integers do", () => {
  const digits = fc.oneof(
    fc.stringMatching(/^[0-9]{1,3}$/),
    fc.stringMatching(/^[0-9]{1,20}$/),
    fc.constantFrom("5", "25", "001", "999", "3333333333333333", "9999999999999999999"),
  );
  const units = fc.constantFrom("ms", "s", "m", "h");
  fc.assert(
    fc.property(fc.nat(100), digits, units, (whole, fraction, unit) => {
      const scale = 10n ** BigInt(fraction.length);
      const scaledMs = (BigInt(whole) * scale + BigInt(fraction)) * UNIT_MS[unit];
      const expected = scaledMs % scale === 0n ? Number(scaledMs / scale) : undefined;
      assert.equal(parseDuration(`${whole}.${fraction}${unit}`), expected);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("parseDuration() adds up parts in any order", () => {
  const part = fc.tuple(fc.nat(9999), fc.constantFrom("ms", "s", "m", "h"));
  fc.assert(fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
    const text = parts.map(([count, unit]) => `${count}${unit}`).join("");
    const expected = parts.reduce((sum, [count, unit]) => sum + BigInt(count) * UNIT_MS[unit], 0n);
    assert.equal(parseDuration(text), Number(expected));
  }));
});

Deno.test("formatDuration() throws for what is not whole milliseconds from 0", () => {
  for (const durationMs of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
    assert.throws(() => formatDuration(durationMs), RangeError, `${durationMs}`);
  }
});
