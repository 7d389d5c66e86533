/** Which datagrams are judged: each kind has its time, copies are known, and strangers add nothing. */

import assert from "node:assert/strict";
import fc from "fast-check";
import type { ServerConfig } from "../../lib/config/server.ts";
import { concatBytes } from "../../lib/crypto/keys.ts";
import { publicKeyOf } from "../../lib/crypto/sync.ts";
import { Admission, type Admitted } from "../../lib/receive/admission.ts";
import { EphemeralKeys } from "../../lib/receive/ephemeral_keys.ts";
import { CurrentStamps } from "../../lib/receive/stamps.ts";
import { ephemeralKeyOf } from "../../lib/packet.ts";
import { TokenBucket } from "../../lib/values/token_bucket.ts";
import {
  agreeAsServer,
  ALICE,
  ALICE_PROFILE,
  anyBytes,
  filled,
  freshKnock,
  knockBy,
  ownNonce,
  SERVER_PUBLIC_KEY,
  START_MS,
} from "../support/knocks.ts";

const CONFIG = {
  publicKey: SERVER_PUBLIC_KEY,
  replayWindowMs: 60_000,
  onlyStampedKnocks: false,
} as ServerConfig;

const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
const junk = () => concatBytes(Uint8Array.of(1), random(164));

/** Admission whose steady clock the test moves, and whose stamps are of now or of START_MS. */
function admission(config: Partial<ServerConfig> = {}, wallMs = START_MS) {
  const keys = new EphemeralKeys();
  const whole = { ...CONFIG, ...config };
  const stamps = new CurrentStamps(whole, { steadyMs: 0, wallNs: BigInt(wallMs) * 1_000_000n });
  const inside = new Admission(whole, { stamps, keys });
  let nowMs = 0;
  return {
    inside,
    keys,
    pass: (ms: number) => void (nowMs += ms),
    admit: (datagram: Uint8Array) => inside.admit(datagram, nowMs),
    /** Whether it is to be judged. */
    takes: (datagram: Uint8Array) => typeof inside.admit(datagram, nowMs) === "object",
  };
}

/** Bytes that bear this server's stamp and tag, with anything behind: a holder of a profile can make them. */
function taggedJunk(atMs = START_MS): Uint8Array {
  const ephemeral = random(32);
  return concatBytes(Uint8Array.of(1), ephemeral, ownNonce(ephemeral, atMs), random(120));
}

/** The first 45 bytes of a knock, which bear its tag, and rubbish behind. */
const onRubbish = (knock: Uint8Array) => concatBytes(knock.subarray(0, 45), random(120));

/** How many ms of a second so many a second take for two, where judging one takes `ms`. */
function timeTaken(
  { inside, admit, pass }: ReturnType<typeof admission>,
  perSecond: number,
  ms: number,
  make: () => Uint8Array,
): number {
  let count = 0;
  for (let i = 0; i < 2 * perSecond; i++) {
    const admitted = admit(make());
    pass(1000 / perSecond);
    if (typeof admitted === "string") continue;
    count++;
    inside.took(admitted, ms);
  }
  return count * ms / 2;
}

Deno.test("people who knock at once are all judged, also where that takes milliseconds each", () => {
  const rows = [[80, 5, () => taggedJunk()], [200, 2, () => taggedJunk()], [35, 2, junk]] as const;
  for (const [people, ms, make] of rows) {
    const { inside, admit, pass } = admission();
    for (let i = 0; i < people; i++) {
      const admitted = admit(make());
      assert.ok(typeof admitted === "object", `the ${i + 1}th is ${admitted}`);
      pass(ms);
      inside.took(admitted, ms);
    }
  }
});

Deno.test("a judgement that stalls for a second refuses no knock behind it", () => {
  for (const make of [() => taggedJunk(), junk]) {
    const { inside, admit, takes, pass } = admission();
    const stalled = admit(make());
    assert.ok(typeof stalled === "object");
    pass(1000);
    inside.took(stalled, 1000);
    assert.ok(takes(make()));
  }
});

Deno.test("admit() refuses sizes and versions before it looks any further", () => {
  const { admit } = admission();
  for (const size of [0, 1, 45, 164, 166, 1500]) assert.equal(admit(filled(1, size)), "size");
  assert.equal(admit(filled(2, 165)), "version");
});

Deno.test("a stamp of now with a wrong tag is junk; without a stamp it may be a deployed client's knock", async () => {
  const { admit, takes } = admission();
  const datagram = taggedJunk();
  for (let offset = 37; offset < 45; offset++) {
    assert.equal(admit(datagram.with(offset, datagram[offset]! ^ 1)), "tag", `byte ${offset}`);
  }
  // The tag is over stamp and ephemeral key.
  assert.equal(admit(datagram.with(1, datagram[1]! ^ 1)), "tag");
  assert.ok(takes(datagram));
  assert.ok(takes(datagram.with(33, datagram[33]! ^ 1)));
  assert.ok(takes(await knockBy(ALICE)));
});

Deno.test("with only_stamped_knocks all without a right tag is dropped, whatever its stamp", () => {
  const { admit, takes } = admission({ onlyStampedKnocks: true });
  assert.equal(admit(junk()), "unstamped");
  const tagged = taggedJunk();
  assert.equal(admit(tagged.with(40, tagged[40]! ^ 1)), "tag");
  assert.ok(takes(tagged));
  assert.ok(takes(taggedJunk(START_MS - 3_600_000)), "it is the gate's to say that a clock is off");
});

Deno.test("no flood without tags takes more than its part, or the time of tagged knocks", () => {
  for (const make of [junk, () => taggedJunk(START_MS - 3_600_000)]) {
    const server = admission();
    const ms = timeTaken(server, 20_000, 0.1, make);
    assert.ok(ms > 650 && ms < 750, `${ms}`);
    for (let i = 0; i < 200; i++) assert.ok(server.takes(taggedJunk()), `the ${i}th`);
  }
});

Deno.test("on a slow machine a flood takes no more time", () => {
  const ms = timeTaken(admission(), 5000, 0.4, junk);
  assert.ok(ms > 780 && ms < 880, `${ms}`);
});

Deno.test("no flood of who can make tags takes the time of who cannot", () => {
  const server = admission();
  const ms = timeTaken(server, 20_000, 0.15, taggedJunk);
  assert.ok(ms > 750 && ms < 850, `${ms}`);
  for (let i = 0; i < 200; i++) assert.ok(server.takes(junk()), `the ${i}th`);
});

Deno.test("copies of a watched knock leave some time to all others, and tagged knocks come first", async () => {
  for (const tagged of [true, false]) {
    const server = admission({}, Date.now());
    const watched = tagged ? await freshKnock(ALICE_PROFILE) : await knockBy(ALICE);
    server.keys.note(ephemeralKeyOf(watched));
    const ms = timeTaken(server, 60_000, 0.015, () => onRubbish(watched));
    assert.ok(ms > 750 && ms < 850, `${ms}`);
    for (let i = 0; i < 100; i++) assert.ok(server.takes(await freshKnock(ALICE_PROFILE)));
    for (let i = 0; i < 100; i++) assert.ok(server.takes(junk()), `the ${i}th`);
  }
});

Deno.test("under a key whose knock was judged to its end a few replays are judged, and no more", () => {
  const { keys, admit, takes, pass } = admission();
  const knock = taggedJunk();
  assert.ok(takes(knock));
  for (let i = 0; i < 10; i++) assert.ok(takes(onRubbish(knock)), "it may be the knock itself");
  keys.get(ephemeralKeyOf(knock))!.spend();
  let judged = 0;
  for (let i = 0; i < 50; i++) {
    if (takes(knock)) judged++;
    keys.get(ephemeralKeyOf(knock))!.spend(); // a replay comes to its end, too
    pass(1000);
  }
  assert.ok(judged >= 1 && judged <= 4, `${judged}`);
  assert.equal(admit(knock), "overload");
});

Deno.test("strangers add nothing to the known keys: what has no tag adds none until its seal was good", async () => {
  const { keys, admit, pass } = admission();
  const knock = await knockBy(ALICE);
  for (let i = 0; i < 3; i++) {
    const admitted = admit(knock) as Admitted;
    assert.deepEqual([admitted.tagged, admitted.key], [false, undefined]);
    pass(100);
  }
  const known = keys.note(ephemeralKeyOf(knock));
  assert.equal((admit(knock) as Admitted).key, known);
});

Deno.test("known keys are bounded; the latest stay", () => {
  const keys = new EphemeralKeys();
  const all = Array.from({ length: 20_000 }, () => random(32));
  const notes = all.map((each) => keys.note(each));
  const first = all.findIndex((each) => keys.get(each) !== undefined);
  assert.ok(first >= 10_000 && first <= 16_000, `${first}`);
  for (let i = first; i < all.length; i++) assert.equal(keys.get(all[i]!), notes[i]);
});

Deno.test("an observer cannot fill the known keys: without a right tag none is noted", () => {
  const { keys, takes, pass } = admission();
  const victim = taggedJunk();
  assert.ok(takes(victim));
  for (let i = 0; i < 20_000; i++) {
    takes(junk());
    pass(1);
  }
  assert.ok(keys.get(ephemeralKeyOf(victim)));
});

Deno.test("remembering() is the agreement it remembers, and asks once for a key", () => {
  fc.assert(
    fc.property(anyBytes(32), (key) => {
      let asked = 0;
      const agree = new EphemeralKeys().note(key).remembering((each) => {
        asked++;
        return agreeAsServer(each);
      });
      for (let i = 0; i < 3; i++) assert.deepEqual(agree(key), agreeAsServer(key));
      assert.equal(asked, 1);
    }),
    { numRuns: 50 },
  );
  const low = new Uint8Array(32); // of low order
  assert.equal(new EphemeralKeys().note(low).remembering(agreeAsServer)(low), undefined);
});

Deno.test("a new server key has new tags, and the one before it counts during a rotation", () => {
  const { inside, admit } = admission();
  const knock = taggedJunk();
  assert.ok((admit(knock) as Admitted).tagged);
  const next = publicKeyOf("X25519", filled(7));
  inside.reconfigure({ ...CONFIG, publicKey: next, previousPrivateKey: filled(0x51) });
  assert.ok((admit(taggedJunk()) as Admitted).tagged);
  inside.reconfigure({ ...CONFIG, publicKey: next });
  assert.equal(admit(taggedJunk()), "tag"); // its stamp is still one of now
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
