/** Which datagrams wait to be judged: tagged knocks are never behind strangers', no sender fills the queue alone, nothing grows. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { parseAddress } from "../../lib/values/address.ts";
import { concatBytes } from "../../lib/crypto/keys.ts";
import { knockTags } from "../../lib/crypto/sync.ts";
import { FairQueue } from "../../lib/receive/fair_queue.ts";
import { KnockQueue, type Queued, rememberingAgreement } from "../../lib/receive/queue.ts";
import { EphemeralKeys } from "../../lib/receive/ephemeral_keys.ts";
import { TokenBucket } from "../../lib/values/token_bucket.ts";
import {
  address,
  agreeAsServer,
  ALICE,
  ALICE_PROFILE,
  anyBytes,
  filled,
  freshKnock,
  knockBy,
  must,
  ownNonce,
  SERVER_PUBLIC_KEY,
  SOURCE,
} from "../support/knocks.ts";

const tags = knockTags(SERVER_PUBLIC_KEY);
const STRANGER = address("203.0.113.66");

/** A queue whose steady clock the test moves. */
function queue() {
  let [dropped, nowMs] = [0, 0];
  const keys = new EphemeralKeys();
  const parts = { tags: [tags], keys, steadyMs: () => nowMs, dropped: () => void dropped++ };
  return {
    queue: new KnockQueue(parts),
    keys,
    dropped: () => dropped,
    pass: (ms: number) => void (nowMs += ms),
  };
}

const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
const junk = () => concatBytes(Uint8Array.of(1), random(164));
const nth = (i: number) => must(parseAddress(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`));

/** Bytes that bear this server's tag, with anything behind it: a holder of its public key can make them. */
function taggedJunk(): Uint8Array {
  const ephemeral = random(32);
  return concatBytes(Uint8Array.of(1), ephemeral, ownNonce(ephemeral), random(120));
}

Deno.test("offer() refuses sizes and versions before it looks any further", () => {
  const { queue: waiting } = queue();
  for (const size of [0, 1, 45, 164, 166, 1500]) {
    assert.equal(waiting.offer(filled(1, size), SOURCE), "size");
  }
  assert.equal(waiting.offer(filled(2, 165), SOURCE), "version");
  assert.equal(waiting.size, 0);
});

Deno.test("a tagged knock goes before everything without a tag, and no number of those pushes it out", async () => {
  const { queue: waiting, dropped } = queue();
  for (let i = 0; i < 10_000; i++) waiting.offer(junk(), STRANGER);
  const good = await freshKnock(ALICE_PROFILE);
  assert.equal(waiting.offer(good, SOURCE), undefined);
  for (let i = 0; i < 10_000; i++) waiting.offer(junk(), nth(i));
  const full = waiting.size;
  assert.equal(dropped(), 20_001 - full, "every loss is counted");
  for (let i = 0; i < 10_000; i++) waiting.offer(junk(), nth(i));
  assert.equal(waiting.size, full, "what waits is bounded");
  assert.deepEqual(must(waiting.next()).datagram, good);
});

Deno.test("of what has no tag, the oldest gives way and the rest keeps its order", () => {
  const { queue: waiting } = queue();
  const sent = Array.from({ length: 20_000 }, (_, i) => ({ datagram: junk(), source: nth(i) }));
  for (const { datagram, source } of sent) waiting.offer(datagram, source);
  const kept = waiting.size;
  assert.ok(kept >= 1000 && kept < sent.length, `${kept}`);
  for (const expected of sent.slice(-kept)) {
    const { kind, datagram, source } = must(waiting.next());
    assert.deepEqual([kind, { datagram, source }], ["other", expected]);
  }
  assert.equal(waiting.next(), undefined);
});

Deno.test("one source that holds the server's key cannot keep a tagged knock of another waiting", async () => {
  const good = await freshKnock(ALICE_PROFILE);
  // A whole /64 is one source.
  for (const sourceOf of [() => STRANGER, (i: number) => address(`2001:db8::${i.toString(16)}`)]) {
    const { queue: waiting } = queue();
    for (let i = 1; i < 10_000; i++) waiting.offer(taggedJunk(), sourceOf(i));
    waiting.offer(good, SOURCE);
    assert.ok([waiting.next(), waiting.next()].some((each) => each?.source === SOURCE));
  }
});

/** The first 45 bytes of a knock, which bear its tag, and rubbish behind. */
const onRubbish = (knock: Uint8Array) => concatBytes(knock.subarray(0, 45), random(120));

Deno.test("a watched front on rubbish costs others a sixth of a processor, from however many sources, and less with its seal", async () => {
  for (const [signatures, most] of [[0, 10_000], [1, 2500]] as const) {
    const { queue: waiting, keys, pass } = queue();
    const watched = await freshKnock(ALICE_PROFILE);
    let judged = 0;
    for (let i = 0; i < 60_000; i++) { // 30,000 a second from 10,000 sources
      waiting.offer(onRubbish(watched), nth(i % 10_000));
      pass(1 / 30);
      if (!waiting.next()) continue;
      judged++;
      if (signatures > 0) keys.charge(watched.subarray(1, 33), signatures);
    }
    assert.ok(judged >= 1.9 * most && judged <= 2 * most + 1100, `${judged} in 2 s`);
    const another = await freshKnock(ALICE_PROFILE);
    waiting.offer(another, SOURCE);
    assert.deepEqual(must(waiting.next()).datagram, another);
  }
});

Deno.test("a front that runs ahead of its genuine knock does not keep it out", async () => {
  const { queue: waiting } = queue();
  const [genuine, another] = [
    await freshKnock(ALICE_PROFILE),
    await freshKnock(ALICE_PROFILE),
  ];
  for (let i = 0; i < 1000; i++) waiting.offer(onRubbish(genuine), nth(i)); // 100 ms at 10,000 a second
  waiting.offer(genuine, SOURCE);
  waiting.offer(another, SOURCE);
  assert.equal(must(waiting.next()).kind, "tagged"); // the first copy looks like a fresh knock
  assert.deepEqual(must(waiting.next()).datagram, another);
  const rest = Array.from({ length: 1000 }, () => waiting.next()?.source);
  assert.ok(rest.includes(SOURCE));
});

Deno.test("copies beyond their budget wait until nothing else does, and the oldest are given up", async () => {
  for (const tagged of [true, false]) {
    const { queue: waiting, keys, dropped } = queue();
    const genuine = tagged ? await freshKnock(ALICE_PROFILE) : await knockBy(ALICE);
    keys.note(genuine.subarray(1, 33));
    for (let i = 0; i < 20_000; i++) waiting.offer(onRubbish(genuine), nth(i));
    waiting.offer(genuine, SOURCE);
    assert.equal(dropped(), 20_001 - waiting.size);
    while (waiting.next()?.kind === "repeated");
    let last: Queued | undefined;
    for (let late = waiting.takeLate(); late; late = waiting.takeLate()) last = late;
    assert.deepEqual(last, { datagram: genuine, source: SOURCE, kind: "late", tagged });
    assert.equal(waiting.size, 0);
  }
});

Deno.test("no number of watched fronts comes back as fresh", () => {
  const { queue: waiting, pass } = queue();
  const fronts = Array.from({ length: 40_000 }, taggedJunk);
  const kindsOf = () => {
    const kinds = { tagged: 0, repeated: 0, late: 0, other: 0 };
    for (const [i, front] of fronts.entries()) {
      waiting.offer(front, nth(i));
      kinds[must(waiting.next()).kind]++;
      pass(1);
    }
    return kinds;
  };
  assert.ok(kindsOf().tagged > 38_000);
  // Two keys of one place, of a million, forget each other.
  const again = kindsOf();
  assert.equal(again.other, 0);
  assert.ok(again.tagged < 2000, `${again.tagged} came back`);
});

Deno.test("under a spent key there is next to nothing left, for replays of its knock neither", async () => {
  for (const replayed of [false, true]) {
    const { queue: waiting, keys, pass } = queue();
    const knock = await freshKnock(ALICE_PROFILE);
    const key = knock.subarray(1, 33);
    keys.spend(key);
    let judged = 0;
    for (let i = 0; i < 10_000; i++) {
      waiting.offer(replayed ? knock : onRubbish(knock), nth(i));
      pass(1);
      if (!waiting.next()) continue;
      judged++;
      if (replayed) keys.spend(key); // its signature is good, every time
    }
    assert.ok(judged >= 10 && judged <= 15, `${judged} in 10 s`);
    assert.equal(waiting.takeLate(), undefined);
  }
});

Deno.test("senders who can make tags leave time to senders who cannot, and to copies", async () => {
  const { queue: waiting, keys } = queue();
  const copied = await freshKnock(ALICE_PROFILE);
  keys.note(copied.subarray(1, 33));
  for (let i = 0; i < 1000; i++) {
    waiting.offer(taggedJunk(), nth(i));
    waiting.offer(junk(), nth(i));
    if (i < 20) waiting.offer(copied, nth(i));
  }
  const kinds = Array.from({ length: 200 }, () => must(waiting.next()).kind);
  const count = (kind: string) => kinds.filter((each) => each === kind).length;
  assert.deepEqual([count("tagged"), count("repeated"), count("other")], [160, 20, 20]);
});

Deno.test("strangers add nothing to the known keys: what has no tag stays other until its seal was good", async () => {
  const { queue: waiting, keys } = queue();
  const knock = await knockBy(ALICE);
  for (let i = 0; i < 3; i++) {
    waiting.offer(knock, SOURCE);
    assert.equal(must(waiting.next()).kind, "other");
  }
  keys.note(knock.subarray(1, 33));
  // The top bit of an X25519 key is ignored.
  for (const datagram of [knock, knock.with(32, knock[32]! ^ 0x80)]) {
    waiting.offer(datagram, SOURCE);
    assert.equal(must(waiting.next()).kind, "repeated");
  }
});

Deno.test("the queue owns its bytes: what the socket writes over them afterwards does not matter", async () => {
  const { queue: waiting } = queue();
  for (const datagram of [await freshKnock(ALICE_PROFILE), await knockBy(ALICE)]) {
    const buffer = datagram.slice();
    waiting.offer(buffer, SOURCE);
    buffer.fill(0);
    assert.deepEqual(must(waiting.next()).datagram, datagram);
  }
});

Deno.test("a new server key has new tags", async () => {
  const { queue: waiting } = queue();
  waiting.retag([knockTags(filled(7))]);
  waiting.offer(await freshKnock(ALICE_PROFILE), SOURCE);
  assert.equal(must(waiting.next()).kind, "other");
});

Deno.test("FairQueue() keeps each lane's order, loses nothing but what it gives back, and is bounded", () => {
  const pushes = fc.array(fc.tuple(fc.nat(9), fc.boolean()), { maxLength: 400 });
  fc.assert(fc.property(pushes, (steps) => {
    const fair = new FairQueue<{ lane: number; number: number }>({ capacity: 30, perLane: 5 });
    const inside = new Set<number>();
    const last = new Map<number, number>();
    const leave = (item: { lane: number; number: number } | undefined) => {
      if (!item) return;
      assert.ok(inside.delete(item.number));
      assert.ok((last.get(item.lane) ?? -1) < item.number, "a lane is out of order");
      last.set(item.lane, item.number);
    };
    for (const [number, [lane, take]] of steps.entries()) {
      inside.add(number);
      const given = fair.push(String(lane), { lane, number });
      // What is refused itself has never been in line.
      if (given?.number === number) inside.delete(number);
      else leave(given);
      if (take) leave(fair.shift());
      assert.equal(fair.size, inside.size);
      assert.ok(fair.size <= 30);
    }
    while (fair.size > 0) leave(fair.shift());
    assert.equal(inside.size, 0);
    assert.equal(fair.shift(), undefined);
  }));
});

Deno.test("TokenBucket() never gives more than comes in by the second, also where the clock goes back", () => {
  const bucket = new TokenBucket({ perSecond: 100, capacity: 10 });
  assert.equal(bucket.take(50, 0), 10);
  assert.equal(bucket.take(1, 0), 0);
  assert.equal(bucket.take(50, 55), 5);
  assert.equal(bucket.take(50, 10), 0); // back in time: nothing
  let given = 0;
  for (let ms = 1000; ms <= 11_000; ms++) given += bucket.take(3, ms);
  assert.ok(given >= 1000 && given <= 1011, `${given} in 10 s`);
});

Deno.test("rememberingAgreement() is the agreement it remembers, and asks once for a key", () => {
  let asked = 0;
  const agree = rememberingAgreement((key) => {
    asked++;
    return agreeAsServer(key);
  }, 8);
  fc.assert(
    fc.property(anyBytes(32), (key) => {
      assert.deepEqual(agree(key), agreeAsServer(key));
      const before = asked;
      assert.deepEqual(agree(key), agreeAsServer(key));
      assert.equal(asked, before);
    }),
    { numRuns: 50 },
  );
  assert.equal(agree(new Uint8Array(32)), undefined); // low order
});
