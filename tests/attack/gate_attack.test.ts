/**
 * At least 500,000 hostile datagrams through the whole way of a datagram (queue, gate, replay memory): none is let in,
 * each is dropped for a right reason, nothing is remembered, and the next good knock passes. `OPENME_ATTACK_SEED` repeats
 * a run.
 */

import assert from "node:assert/strict";
import { knockTags } from "../../lib/crypto_sync.ts";
import { judge } from "../../lib/gate.ts";
import { KnockQueue, rememberingAgreement } from "../../lib/knock_queue.ts";
import { KnownKeys } from "../../lib/known_keys.ts";
import { parseAddress } from "../../lib/address.ts";
import {
  agreeAsServer,
  ALICE,
  freshRules,
  memoryOf,
  must,
  NOW_NS,
  outcome,
  SERVER_PUBLIC_KEY,
  SOURCE,
} from "../support.ts";
import { good, type Hostile, hostileDatagrams, LOW_ORDER_KEYS, Random } from "./hostile.ts";

const COUNT = Number(Deno.env.get("OPENME_ATTACK_COUNT") ?? 500_000);
const SEED = Number(
  Deno.env.get("OPENME_ATTACK_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0],
);

/** What becomes of a datagram on its way through a server. */
class Server {
  readonly rules = freshRules({ agree: agreeAsServer });
  readonly #tagged = { ...this.rules, agree: rememberingAgreement(agreeAsServer, 4096) };
  readonly #queue = new KnockQueue({
    tags: [knockTags(SERVER_PUBLIC_KEY)],
    keys: new KnownKeys(),
    steadyMs: () => this.#nowMs += 1000, // so that no copy is one too many a second
    dropped: () => {},
  });
  #nowMs = 0;

  outcome(datagram: Uint8Array): string {
    const refused = this.#queue.offer(datagram, SOURCE);
    if (refused) return refused;
    const waiting = must(this.#queue.next());
    const rules = waiting.kind === "other" ? this.rules : this.#tagged;
    const verdict = judge(waiting.datagram, waiting.source, NOW_NS, rules);
    return verdict.kind === "grant" ? "grant" : verdict.reason;
  }
}

Deno.test(`${COUNT} hostile datagrams from seed ${SEED}: nothing granted, nothing remembered`, async (t) => {
  const random = new Random(SEED);
  let server = new Server();
  const counts = new Map<string, number>();
  let sent = 0;
  const judgeOne = ({ why, datagram, expected }: Hostile) => {
    sent++;
    const got = server.outcome(datagram);
    counts.set(got, (counts.get(got) ?? 0) + 1);
    if (!expected.includes(got)) {
      assert.fail(`${why}: ${got} instead of ${expected} (seed ${SEED})`);
    }
  };
  while (sent < COUNT) {
    for await (const hostile of hostileDatagrams(random)) judgeOne(hostile);
    assert.deepEqual(memoryOf(server.rules).entries, [], "something hostile was remembered");
    // A knock of before is a replay from its first acceptance on; a fresh one is let in.
    const knock = await good(random);
    assert.equal(server.outcome(knock), "grant");
    assert.equal(server.outcome(knock), "replay");
    server = new Server(); // the next round's knocks are dated as this one's
  }
  assert.ok(sent >= COUNT);
  await t.step(
    `${sent} datagrams: ${
      [...counts].sort().map(([reason, count]) => `${reason} ${count}`).join(", ")
    }`,
    () => assert.ok(!counts.has("grant")),
  );
});

Deno.test("every published low-order key is among the hostile ones, and each is refused", async () => {
  assert.ok(LOW_ORDER_KEYS.length >= 14);
  const knock = await good(new Random(1));
  for (const hex of LOW_ORDER_KEYS) {
    const datagram = knock.slice();
    datagram.set(must(hex.match(/../g)).map((pair) => parseInt(pair, 16)), 1);
    assert.equal(outcome(datagram, freshRules()), "key_agreement", hex);
  }
});

Deno.test("a million junk datagrams leave the queue and the replay memory as they were", async () => {
  const rules = freshRules();
  let dropped = 0;
  const queue = new KnockQueue({
    tags: [knockTags(SERVER_PUBLIC_KEY)],
    keys: new KnownKeys(),
    steadyMs: () => 0,
    dropped: () => dropped++,
  });
  const pool = Array.from({ length: 512 }, () => {
    const datagram = crypto.getRandomValues(new Uint8Array(165));
    datagram[0] = 1;
    return datagram;
  });
  const sources = Array.from(
    { length: 10_000 },
    (_, i) => must(parseAddress(`10.0.${i >> 8}.${i & 255}`)),
  );
  const offer = (count: number) => {
    for (let i = 0; i < count; i++) queue.offer(pool[i % 512]!, sources[i % 10_000]!);
  };
  offer(100_000);
  const before = Deno.memoryUsage();
  offer(1_000_000);
  const after = Deno.memoryUsage();
  assert.equal(queue.size, 8192);
  assert.equal(dropped, 1_100_000 - 8192);
  // External memory is where the bytes of datagrams would be.
  const grownMb = (after.external + after.heapUsed - before.external - before.heapUsed) / 2 ** 20;
  assert.ok(grownMb < 32, `grew by ${grownMb.toFixed(1)} MB`);
  assert.deepEqual(memoryOf(rules).entries, []);
  const knock = await good(new Random(2), ALICE);
  queue.offer(knock, SOURCE);
  assert.deepEqual(must(queue.next()).datagram, knock);
});
