/** Knocks that wait for their client to be found: bounded, by turns, and always with the clients of now. */

import assert from "node:assert/strict";
import type { Address } from "../../lib/values/address.ts";
import { concatBytes } from "../../lib/crypto/keys.ts";
import type { UnsignedKnock } from "../../lib/gate.ts";
import { type Search, Searches } from "../../lib/receive/deferred.ts";
import { SimulatedServer } from "./simulated_server.ts";
import { address, must, SERVER_PUBLIC_KEY, SOURCE, START_MS } from "../support/knocks.ts";
import { keyPairOf } from "../../lib/crypto/keys.ts";
import { sealKnock } from "../../lib/packet.ts";

const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
const OTHER = address("203.0.113.9");

function search(source: Address, ephemeralKey = random(32)): Search {
  const datagram = concatBytes(Uint8Array.of(1), ephemeralKey, random(132));
  return { datagram, source, knock: {} as UnsignedKnock };
}

const never = () => false;

Deno.test("Searches() takes 256, 64 of a source, and one under an ephemeral key", () => {
  const searches = new Searches();
  const ofOne = Array.from({ length: 70 }, () => searches.add(search(SOURCE)));
  assert.equal(ofOne.filter(Boolean).length, 64);
  const key = random(32);
  assert.equal(searches.add(search(OTHER, key)), true);
  assert.equal(searches.add(search(address("203.0.113.10"), key)), false);
  for (let i = 0; i < 300; i++) searches.add(search(address(`10.0.${i >> 8}.${i & 255}`)));
  assert.equal(searches.size, 256);
  // A whole /64 is one source.
  const six = new Searches();
  for (let i = 1; i <= 70; i++) six.add(search(address(`2001:db8::${i.toString(16)}`)));
  assert.equal(six.size, 64);
});

Deno.test("next() gives sources their turns, and each search of a source its own", () => {
  const searches = new Searches();
  const many = Array.from({ length: 3 }, () => search(SOURCE));
  const single = search(OTHER);
  for (const each of [...many, single]) searches.add(each);
  const turns = Array.from({ length: 6 }, () => searches.next(never));
  assert.deepEqual(turns, [many[0], single, many[1], single, many[2], single]);
  searches.remove(single);
  searches.remove(must(many[1]));
  assert.equal(searches.size, 2);
  assert.deepEqual([searches.next(never), searches.next(never)], [many[0], many[2]]);
});

Deno.test("next() leaves what is late to the end, but not for ever", () => {
  const searches = new Searches();
  const [late, inTime] = [search(SOURCE), search(OTHER)];
  for (const each of [late, inTime]) searches.add(each);
  const isLate = (each: Search) => each === late;
  assert.equal(searches.next(isLate), inTime);
  assert.equal(searches.next(isLate), inTime);
  searches.remove(inTime);
  assert.equal(searches.next(isLate), late);
  searches.remove(late);
  assert.equal(searches.next(isLate), undefined);
  assert.equal(searches.size, 0);
});

Deno.test("a place is free again once its search has ended, or all were taken", () => {
  const searches = new Searches();
  const each = search(SOURCE);
  assert.equal(searches.add(each), true);
  assert.equal(searches.add(each), false);
  searches.remove(each);
  searches.remove(each);
  assert.equal(searches.add(each), true);
  assert.deepEqual(searches.takeAll(), [each]);
  assert.equal(searches.size, 0);
  assert.equal(searches.add(each), true);
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
    server.pipeline.take({ datagram, source: SOURCE, kind: "other", tagged: false });
    server.pipeline.search();
    assert.equal(server.grants.size, 0, "it was found too early for this test");
    const others = server.clients.slice(0, 100);
    server.pipeline.reconfigure(server.configOf(stays ? [...others, last] : others));
    for (let i = 0; i < 100 && server.pipeline.search(); i++);
    assert.equal(server.grants.size, stays ? 1 : 0);
  }
});
