/** When `dialFirst()` tries again. */

import assert from "node:assert/strict";
import { dialFirst } from "../../lib/client/dial.ts";
import { SOURCE } from "../support/knocks.ts";
import { VirtualTime } from "../support/virtual_time.ts";

Deno.test("dialFirst() tries an address that refuses again after 50 ms, later a few times a second", async () => {
  using time = new VirtualTime();
  const { connect } = Deno;
  const times: number[] = [];
  const startMs = performance.now();
  const refuse = () => {
    times.push(Math.round(performance.now() - startMs));
    return Promise.reject(new Deno.errors.ConnectionRefused());
  };
  Deno.connect = refuse as typeof connect;
  try {
    const over = new AbortController();
    const dialled = dialFirst([SOURCE], 54154, over.signal);
    await time.pass(10_000);
    over.abort();
    assert.deepEqual(await dialled, {
      kind: "closed",
      tried: [{ address: SOURCE, outcome: "refused" }],
    });
  } finally {
    Deno.connect = connect;
  }
  assert.deepEqual(times.slice(0, 6), [0, 50, 113, 191, 288, 410]);
  assert.equal(times.at(-1)! - times.at(-2)!, 250);
});
