/** What tells that a rule of iptables-legacy has changed. */

import assert from "node:assert/strict";
import { clearCounters } from "../../../lib/firewall/host/legacy_rules.ts";

/** struct ipt_entry and ip6t_entry without a match: where the next one is, and where the counters are. */
const LAYOUTS = [
  { family: 4, nextAt: 90, countersAt: 96, size: 152 },
  { family: 6, nextAt: 142, countersAt: 152, size: 208 },
] as const;

Deno.test("clearCounters() takes out the counters of every rule and nothing else", () => {
  for (const { family, nextAt, countersAt, size } of LAYOUTS) {
    const entries = new Uint8Array(3 * size).fill(7);
    const view = new DataView(entries.buffer);
    for (let at = 0; at < entries.length; at += size) view.setUint16(at + nextAt, size, true);
    const before = entries.slice();
    assert.ok(clearCounters(entries, family));
    for (const [at, byte] of entries.entries()) {
      const isCounter = at % size >= countersAt && at % size < countersAt + 16;
      assert.equal(byte, isCounter ? 0 : before[at], `byte ${at}`);
    }
  }
});

Deno.test("clearCounters() refuses what is not a row of entries", () => {
  for (const { family, nextAt, size } of LAYOUTS) {
    for (const next of [0, 1, size - 1, size + 1, 0xffff]) {
      const entries = new Uint8Array(2 * size);
      const view = new DataView(entries.buffer);
      view.setUint16(nextAt, next, true);
      view.setUint16(size + nextAt, size, true);
      assert.equal(clearCounters(entries, family), false, `${next}`);
    }
    assert.ok(clearCounters(new Uint8Array(0), family));
    assert.equal(clearCounters(new Uint8Array(10), family), false);
  }
});
