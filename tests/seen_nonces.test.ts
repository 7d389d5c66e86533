/** The nonces of one client, against a list that is sorted every time; and what looking through a great many costs. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesToHex } from "../lib/crypto/keys.ts";
import { ReplayMemory, SeenNonces } from "../lib/replay.ts";
import { anyBytes, anyInt64, NOW_NS, WINDOW_NS } from "./support/knocks.ts";

const anyTime = fc.oneof(fc.bigInt({ min: 0n, max: 20n }), anyInt64);

Deno.test("SeenNonces is a list in the order of its timestamps, whatever comes in which order", () => {
  const anyStep = fc.oneof(
    fc.record({ add: anyBytes(16), at: anyTime }),
    fc.record({ forget: anyTime }),
  );
  fc.assert(fc.property(fc.array(anyStep, { maxLength: 60 }), (steps) => {
    const seen = new SeenNonces();
    let model: { hex: string; at: bigint }[] = [];
    for (const step of steps) {
      if ("forget" in step) {
        seen.forgetThrough(step.forget);
        model = model.filter(({ at }) => at > step.forget);
      } else if (!model.some(({ hex }) => hex === bytesToHex(step.add))) {
        seen.add(step.add, step.at);
        model.push({ hex: bytesToHex(step.add), at: step.at });
        model.sort((a, b) => a.at < b.at ? -1 : a.at > b.at ? 1 : 0);
        assert.ok(seen.has(step.add));
      }
      assert.equal(seen.size, model.length);
      assert.equal(seen.oldestNs, model[0]?.at);
      assert.deepEqual([...seen.entries()], model.map(({ hex, at }) => [hex, at]));
      for (const limit of [10n, NOW_NS]) {
        assert.equal(seen.newestBefore(limit), model.findLast(({ at }) => at < limit)?.at);
      }
    }
  }));
});

Deno.test("ReplayMemory.prune() looks no further than the oldest that stays", () => {
  const memory = new ReplayMemory();
  const nonce = new Uint8Array(16);
  const view = new DataView(nonce.buffer);
  for (let client = 0; client < 100; client++) {
    for (let n = 0; n < 3000; n++) {
      view.setUint32(0, n);
      memory.restore(`client ${client}`, nonce, NOW_NS + BigInt(n));
    }
  }
  const times = Array.from({ length: 20 }, () => {
    const start = performance.now();
    memory.prune({ nowNs: NOW_NS, replayWindowNs: WINDOW_NS });
    return performance.now() - start;
  });
  // To look at all 300,000 takes 4 ms on a quick machine.
  assert.ok(Math.min(...times) < 0.5, `${Math.min(...times)} ms`);
});
