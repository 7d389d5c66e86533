/** What tells that a rule of iptables-legacy has changed. */

import assert from "node:assert/strict";
import { clearVolatile } from "../../../lib/firewall/host/legacy_rules.ts";

/** struct ipt_entry and ip6t_entry without a match: where the target and the next one are, and the counters. */
const LAYOUTS = [
  { family: 4, targetAt: 88, nextAt: 90, countersAt: 96, size: 152 },
  { family: 6, targetAt: 140, nextAt: 142, countersAt: 152, size: 208 },
] as const;

Deno.test("clearVolatile() takes out the counters of every rule and nothing else", () => {
  for (const { family, targetAt, nextAt, countersAt, size } of LAYOUTS) {
    const entries = new Uint8Array(3 * size).fill(7);
    const view = new DataView(entries.buffer);
    for (let at = 0; at < entries.length; at += size) {
      view.setUint16(at + targetAt, countersAt + 16, true);
      view.setUint16(at + nextAt, size, true);
    }
    const before = entries.slice();
    assert.ok(clearVolatile(entries, family));
    for (const [at, byte] of entries.entries()) {
      const isCounter = at % size >= countersAt && at % size < countersAt + 16;
      assert.equal(byte, isCounter ? 0 : before[at], `byte ${at}`);
    }
  }
});

Deno.test("clearVolatile() refuses what is not a row of entries", () => {
  for (const { family, nextAt, size } of LAYOUTS) {
    for (const next of [0, 1, size - 1, size + 1, 0xffff]) {
      const entries = new Uint8Array(2 * size);
      const view = new DataView(entries.buffer);
      view.setUint16(nextAt, next, true);
      view.setUint16(size + nextAt, size, true);
      assert.equal(clearVolatile(entries, family), false, `${next}`);
    }
    assert.ok(clearVolatile(new Uint8Array(0), family));
    assert.equal(clearVolatile(new Uint8Array(10), family), false);
  }
});

Deno.test("clearVolatile() takes out what matches of BPF compare, and what no other match does", () => {
  for (const { family, targetAt, nextAt, countersAt, size } of LAYOUTS) {
    const names = ["length", "bpf", "bpfx", "bpf"];
    const matchSize = 40;
    const entry = new Uint8Array(size + names.length * matchSize).fill(7);
    const view = new DataView(entry.buffer);
    const firstAt = countersAt + 16;
    view.setUint16(targetAt, firstAt + names.length * matchSize, true);
    view.setUint16(nextAt, entry.length, true);
    for (const [i, name] of names.entries()) {
      const at = firstAt + i * matchSize;
      view.setUint16(at, matchSize, true);
      entry.set([...new TextEncoder().encode(name), 0], at + 2);
    }
    const before = entry.slice();
    assert.ok(clearVolatile(entry, family));
    for (let at = firstAt; at < entry.length; at++) {
      const [i, inMatch] = [Math.floor((at - firstAt) / matchSize), (at - firstAt) % matchSize];
      const isCleared = names[i] === "bpf" && inMatch >= 32;
      assert.equal(entry[at], isCleared ? 0 : before[at], `byte ${at}`);
    }
    // A match of no size would never end.
    view.setUint16(firstAt, 0, true);
    assert.equal(clearVolatile(entry, family), false);
  }
});
