/** Knocks that wait for their client to be found: bounded, by turns, and always with the clients of now. */

import assert from "node:assert/strict";
import type { Address } from "../../lib/values/address.ts";
import { concatBytes } from "../../lib/crypto/keys.ts";
import { type Deferred, DeferredVerifications } from "../../lib/receive/deferred.ts";
import { SimulatedServer } from "./simulated_server.ts";
import { address, must, SERVER_PUBLIC_KEY, SOURCE, START_MS } from "../support/knocks.ts";
import { keyPairOf } from "../../lib/crypto/keys.ts";
import { sealKnock } from "../../lib/packet.ts";

const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
const OTHER = address("203.0.113.9");

/** What waits, of which the test says what is stale, and the sources of what was dropped. */
function waiting() {
  const stale = new Set<Deferred>();
  const dropped: Address[] = [];
  const deferred = new DeferredVerifications({
    isStale: (each) => stale.has(each),
    dropped: (source) => void dropped.push(source),
  });
  /** Lets the next have its turn, and wait again. */
  const turn = () => {
    const next = deferred.take();
    if (next) deferred.add(next);
    return next;
  };
  return { deferred, stale, dropped, turn };
}

function knockFrom(source: Address, ephemeralKey = random(32)): Deferred {
  const datagram = concatBytes(Uint8Array.of(1), ephemeralKey, random(132));
  return { datagram, source, ...({} as Pick<Deferred, "knock" | "candidates" | "steps">) };
}

Deno.test("what waits for its client is bounded in all and for each source, and every loss is told", () => {
  const { deferred, dropped } = waiting();
  for (let i = 0; i < 1000; i++) deferred.add(knockFrom(SOURCE));
  const ofOne = deferred.size;
  assert.deepEqual(dropped, new Array(1000 - ofOne).fill(SOURCE));
  for (let i = 0; i < 1000; i++) deferred.add(knockFrom(address(`10.0.${i >> 8}.${i & 255}`)));
  const ofAll = deferred.size;
  assert.ok(ofOne >= 16 && ofAll >= 2 * ofOne && ofAll < 1000, `${ofOne}, ${ofAll}`);
  assert.equal(dropped.length, 2000 - ofAll);
  const { deferred: six } = waiting(); // a whole /64 is one source
  for (let i = 1; i <= 1000; i++) six.add(knockFrom(address(`2001:db8::${i.toString(16)}`)));
  assert.equal(six.size, ofOne);
});

Deno.test("one knock under an ephemeral key waits at a time", () => {
  const { deferred, dropped } = waiting();
  const key = random(32);
  const first = knockFrom(OTHER, key);
  deferred.add(first);
  deferred.add(knockFrom(SOURCE, key));
  assert.deepEqual([deferred.size, dropped], [1, [SOURCE]]);
  assert.equal(deferred.take(), first);
  deferred.add(knockFrom(SOURCE, key));
  assert.deepEqual([deferred.size, dropped.length], [1, 1]);
});

Deno.test("sources have their turns, and each knock of a source its own", () => {
  const { deferred, turn } = waiting();
  const many = Array.from({ length: 3 }, () => knockFrom(SOURCE));
  const single = knockFrom(OTHER);
  for (const each of [...many, single]) deferred.add(each);
  const turns = Array.from({ length: 6 }, turn);
  assert.deepEqual(turns, [many[0], single, many[1], single, many[2], single]);
});

Deno.test("a stale knock is searched when no other waits, whenever it became stale", () => {
  for (const early of [true, false]) {
    const { deferred, stale, turn } = waiting();
    const [old, inTime] = [knockFrom(SOURCE), knockFrom(OTHER)];
    if (early) stale.add(old);
    for (const each of [old, inTime]) deferred.add(each);
    stale.add(old);
    assert.deepEqual([turn(), turn()], [inTime, inTime]);
    assert.equal(deferred.take(), inTime);
    assert.equal(deferred.take(), old);
    assert.equal(deferred.take(), undefined);
    assert.equal(deferred.size, 0);
  }
});

Deno.test("a reload judges anew what waits for its client: with those of now", async () => {
  for (const stays of [true, false]) {
    using server = await SimulatedServer.create(200);
    const last = must(server.clients.at(-1));
    const datagram = await sealKnock({
      timestampNs: BigInt(START_MS) * 1_000_000n,
      randomNonce: random(16),
      target: undefined,
    }, {
      serverPublicKey: SERVER_PUBLIC_KEY,
      clientSeed: last.privateKey,
      ephemeral: await keyPairOf("X25519", random(32)),
      aeadNonce: random(12),
    });
    assert.equal(server.take(datagram, SOURCE), undefined);
    server.search.continueDeferred();
    assert.equal(server.grants.size, 0, "it was found too early for this test");
    const others = server.clients.slice(0, 100);
    server.reconfigure(stays ? [...others, last] : others);
    for (let i = 0; i < 100; i++) server.search.continueDeferred();
    assert.equal(server.grants.size, stays ? 1 : 0);
  }
});
