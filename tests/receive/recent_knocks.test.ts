/** The ids of knocks, and which of them the server keeps. */

import assert from "node:assert/strict";
import { knockId } from "../../lib/crypto/keys.ts";
import { knockIdOf } from "../../lib/crypto/sync.ts";
import { RecentKnocks } from "../../lib/receive/recent_knocks.ts";
import { filled, grantOf } from "../support/knocks.ts";

const nonce = (n: number) => filled(n).subarray(0, 16);

Deno.test("a knock has the same id for its sender and the server", async () => {
  assert.equal(await knockId(nonce(7)), knockIdOf(nonce(7)));
  // printf 'openme-v1-knock-id\7\7\7\7\7\7\7\7\7\7\7\7\7\7\7\7' | sha256sum
  assert.equal(knockIdOf(nonce(7)), "9be0a35fb9cef966");
  assert.notEqual(knockIdOf(nonce(7)), knockIdOf(nonce(8)));
});

Deno.test("RecentKnocks keeps the last 16 of a grant, with what became of each", () => {
  const recent = new RecentKnocks();
  const grant = grantOf("alice", "192.0.2.1");
  const ids = Array.from({ length: 20 }, (_, n) => recent.accept(grant, nonce(n)));
  recent.settle(grant, ids[19]!, "open");
  recent.settle(grant, ids[18]!, "refused");
  recent.settle(grant, ids[0]!, "open"); // forgotten by then
  assert.deepEqual(
    recent.of({ ...grant, client: "renamed", endsSteadyMs: 0 }),
    ids.slice(4).map((id, n) => ({ id, state: ["refused", "open"][n - 14] ?? "pending" })),
  );
  assert.deepEqual(recent.of(grantOf("alice", "192.0.2.2")), []);
});

Deno.test("RecentKnocks is bounded, and forgets the grant that was knocked for least recently", () => {
  const recent = new RecentKnocks();
  const grant = (n: number) => grantOf("alice", `10.0.${n >> 8}.${n & 255}`);
  for (let n = 0; n < 4096; n++) recent.accept(grant(n), nonce(1));
  recent.accept(grant(0), nonce(2));
  recent.accept(grant(5000), nonce(1));
  assert.equal(recent.of(grant(0)).length, 2);
  assert.equal(recent.of(grant(1)).length, 0);
  assert.equal(recent.of(grant(2)).length, 1);
});

Deno.test("a grant is refused from the firewall's refusal until it takes a knock for it", () => {
  const recent = new RecentKnocks();
  const grant = grantOf("alice", "192.0.2.1");
  const ids = [1, 2].map((n) => recent.accept(grant, nonce(n)));
  assert.equal(recent.isRefused(grant), false);
  recent.settle(grant, ids[0]!, "refused");
  assert.equal(recent.isRefused({ ...grant, client: "renamed" }), true);
  assert.equal(recent.isRefused(grantOf("alice", "192.0.2.2")), false);
  recent.settle(grant, ids[1]!, "open");
  assert.equal(recent.isRefused(grant), false);
});
