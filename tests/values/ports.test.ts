/** Ports: how the configuration writes them, and the algebra of ranges against plain sets of port numbers. */

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  comparePortRanges,
  expandPortSpec,
  formatPortRange,
  formatPortSpec,
  includesPortRanges,
  intersectPortRanges,
  mergePortRanges,
  parsePortSpec,
  type PortRange,
  type PortSpec,
  reversedHint,
} from "../../lib/values/ports.ts";
import { must } from "../support/knocks.ts";

Deno.test("parsePortSpec() reads a spec, formatPortSpec() writes it canonically", () => {
  const rows: { text: string; spec: PortSpec; canonical?: string }[] = [
    { text: "22/tcp", spec: { protocol: "tcp", first: 22, last: 22 } },
    { text: "53/udp", spec: { protocol: "udp", first: 53, last: 53 } },
    { text: "80", spec: { protocol: "both", first: 80, last: 80 } },
    { text: "8080-8090/tcp", spec: { protocol: "tcp", first: 8080, last: 8090 } },
    { text: "8080-8090", spec: { protocol: "both", first: 8080, last: 8090 } },
    { text: "7-7/udp", spec: { protocol: "udp", first: 7, last: 7 }, canonical: "7/udp" },
    { text: "1-65535", spec: { protocol: "both", first: 1, last: 65535 } },
    { text: "65535/tcp", spec: { protocol: "tcp", first: 65535, last: 65535 } },
  ];
  for (const { text, spec, canonical = text } of rows) {
    assert.deepEqual(parsePortSpec(text), spec, text);
    assert.equal(formatPortSpec(spec), canonical);
  }
});

Deno.test("reversedHint() knows a range that runs backwards from what is none", () => {
  assert.equal(reversedHint("90-80/tcp"), 'the lower port goes first: "80-90/tcp"');
  assert.equal(reversedHint("90-80"), 'the lower port goes first: "80-90"');
  for (const text of ["80-90/tcp", "22/tpc", "90-80/tpc", "90-0", "65536-80", "22-22", "web"]) {
    assert.equal(reversedHint(text), undefined, text);
  }
});

Deno.test("parsePortSpec() refuses everything else", () => {
  const rows = [
    { text: "", why: "nothing" },
    { text: "0", why: "port 0" },
    { text: "0/tcp", why: "port 0" },
    { text: "0-10", why: "starts at port 0" },
    { text: "65536", why: "above 65535" },
    { text: "65530-65536/udp", why: "ends above 65535" },
    { text: "99999", why: "above 65535" },
    { text: "100000", why: "six digits" },
    { text: "90-80", why: "backwards" },
    { text: "022", why: "leading zero" },
    { text: "22-023", why: "leading zero" },
    { text: "22/", why: "no protocol" },
    { text: "/tcp", why: "no port" },
    { text: "22/TCP", why: "capitals" },
    { text: "22/sctp", why: "another protocol" },
    { text: "22/tcp/udp", why: "two protocols" },
    { text: "22/tcp-24/tcp", why: "a protocol for each end" },
    { text: "22-", why: "no end" },
    { text: "-22", why: "no start" },
    { text: "22-23-24", why: "three numbers" },
    { text: "22,23", why: "a list" },
    { text: "22:23", why: "iptables' range" },
    { text: "22 /tcp", why: "space" },
    { text: " 22", why: "space" },
    { text: "22\n", why: "line break" },
    { text: "22/tcp\n", why: "line break" },
    { text: "22/tcp; drop", why: "nft syntax behind" },
    { text: "1e3", why: "exponent" },
    { text: "0x16", why: "hex" },
    { text: "22.5", why: "fraction" },
    { text: "+22", why: "sign" },
    { text: "\u0662\u0662", why: "digits that are not ASCII" },
    { text: "ssh", why: "a name" },
  ];
  for (const { text, why } of rows) assert.equal(parsePortSpec(text), undefined, `${text}: ${why}`);
});

const anyEnds = fc.tuple(fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 1, max: 65535 }))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

Deno.test("parsePortSpec() inverts formatPortSpec()", () => {
  const specs = fc.tuple(fc.constantFrom("tcp", "udp", "both"), anyEnds)
    .map(([protocol, ends]): PortSpec => ({ protocol, ...ends }));
  fc.assert(fc.property(specs, (spec) => {
    assert.deepEqual(parsePortSpec(formatPortSpec(spec)), spec);
    assert.match(formatPortSpec(spec), /^[0-9]+(-[0-9]+)?(\/(tcp|udp))?$/);
  }));
});

Deno.test("expandPortSpec() means both protocols where none is named", () => {
  const rows = [
    { text: "80", expected: ["80/tcp", "80/udp"] },
    { text: "8080-8090", expected: ["8080-8090/tcp", "8080-8090/udp"] },
    { text: "22/tcp", expected: ["22/tcp"] },
    { text: "53/udp", expected: ["53/udp"] },
  ];
  for (const { text, expected } of rows) {
    assert.deepEqual(expandPortSpec(must(parsePortSpec(text))).map(formatPortRange), expected);
  }
});

/** Ranges in a few low and a few high ports, so that they touch and overlap often. */
const anyRange = fc.tuple(
  fc.constantFrom("tcp", "udp"),
  fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 20 }) }, fc.constant(65530)),
  fc.nat(5),
).map(([protocol, first, more]): PortRange => ({ protocol, first, last: first + more }));
const anyRanges = fc.array(anyRange, { maxLength: 6 });

/** The naive model: every single port. */
function portsOf(ranges: readonly PortRange[]): Set<string> {
  const ports = new Set<string>();
  for (const { protocol, first, last } of ranges) {
    for (let port = first; port <= last; port++) ports.add(`${port}/${protocol}`);
  }
  return ports;
}

/** Sorted, and no two ranges that overlap or touch. */
function assertCanonical(ranges: readonly PortRange[]): void {
  for (const [i, range] of ranges.entries()) {
    assert.ok(range.first <= range.last);
    const next = ranges[i + 1];
    if (next === undefined) continue;
    assert.ok(comparePortRanges(range, next) < 0, "sorted");
    assert.ok(next.protocol !== range.protocol || next.first > range.last + 1, "apart");
  }
}

Deno.test("mergePortRanges() keeps the ports and leaves as few ranges as possible", () => {
  fc.assert(
    fc.property(anyRanges, (ranges) => {
      const before = structuredClone(ranges);
      const merged = mergePortRanges(ranges);
      assert.deepEqual([...portsOf(merged)].sort(), [...portsOf(ranges)].sort());
      assertCanonical(merged);
      assert.deepEqual(mergePortRanges(merged), merged);
      assert.deepEqual(ranges, before, "its argument is left alone");
    }),
    { numRuns: 1000 },
  );
});

Deno.test("intersectPortRanges() is the intersection of the sets", () => {
  fc.assert(
    fc.property(anyRanges, anyRanges, (a, b) => {
      const common = intersectPortRanges(a, b);
      const inB = portsOf(b);
      const expected = [...portsOf(a)].filter((port) => inB.has(port));
      assert.deepEqual([...portsOf(common)].sort(), expected.sort());
      assertCanonical(common);
      assert.deepEqual(intersectPortRanges(b, a), common);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("includesPortRanges() is the subset relation", () => {
  fc.assert(
    fc.property(anyRanges, anyRanges, (outer, inner) => {
      const inOuter = portsOf(outer);
      const expected = [...portsOf(inner)].every((port) => inOuter.has(port));
      assert.equal(includesPortRanges(outer, inner), expected);
      assert.equal(includesPortRanges([...outer, ...inner], inner), true);
      assert.equal(includesPortRanges(outer, intersectPortRanges(outer, inner)), true);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("port ranges, by hand", () => {
  const ranges = (...texts: string[]) =>
    texts.flatMap((text) => expandPortSpec(must(parsePortSpec(text))));
  const texts = (list: readonly PortRange[]) => list.map(formatPortRange);
  const merged = [
    { given: [], expected: [] },
    { given: ["22/tcp", "22/tcp"], expected: ["22/tcp"] },
    { given: ["23/tcp", "22/tcp"], expected: ["22-23/tcp"] },
    { given: ["24/tcp", "22/tcp"], expected: ["22/tcp", "24/tcp"] },
    { given: ["22/udp", "23/tcp"], expected: ["23/tcp", "22/udp"] },
    { given: ["1-100/tcp", "5-6/tcp"], expected: ["1-100/tcp"] },
    { given: ["80", "81/udp"], expected: ["80/tcp", "80-81/udp"] },
    { given: ["9-12/tcp", "100/tcp", "10/tcp"], expected: ["9-12/tcp", "100/tcp"] },
  ];
  for (const { given, expected } of merged) {
    assert.deepEqual(texts(mergePortRanges(ranges(...given))), expected);
  }
  assert.deepEqual(
    texts(intersectPortRanges(ranges("1-10/tcp", "15-30/tcp"), ranges("5-20", "25/tcp"))),
    ["5-10/tcp", "15-20/tcp", "25/tcp"],
  );
  assert.equal(includesPortRanges(ranges("1-5/tcp", "6-10/tcp"), ranges("4-7/tcp")), true);
  assert.equal(includesPortRanges(ranges("1-5/tcp", "7-10/tcp"), ranges("4-7/tcp")), false);
  assert.equal(includesPortRanges(ranges("1-5/tcp"), ranges("1-5/udp")), false);
  assert.equal(includesPortRanges([], []), true);
});
