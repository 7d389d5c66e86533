/**
 * What somebody who has watched knocks, or who once held a profile, can do to others by sending much: nothing to
 * openme's own clients, and little to the rest. On a simulated clock: docs/threat-model.md cites these by name.
 */

import assert from "node:assert/strict";
import type { Address } from "../../lib/values/address.ts";
import {
  aeadSeal,
  type Bytes,
  concatBytes,
  KEY_SIZE,
  type KeyPair,
  keyPairOf,
  sign,
} from "../../lib/crypto/keys.ts";
import { keyAgreement, publicKeyOf } from "../../lib/crypto/sync.ts";
import {
  hintedNonce,
  OFFSET_AEAD_NONCE,
  OFFSET_SEALED,
  OFFSET_SIGNATURE,
  sealKnock,
} from "../../lib/packet.ts";
import { address, must, ownNonce, SERVER_PUBLIC_KEY, START_MS } from "../support/knocks.ts";
import { type Arrival, SimulatedServer } from "../receive/simulated_server.ts";

const MALLORY = address("203.0.113.66");
const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));

/** Sources, each once in a long while. */
const forged = (i: number) => address(`10.${i >> 16 & 255}.${i >> 8 & 255}.${i & 255}`);
/** Where the good knocks come from: never the same address twice. */
const home = (i: number) => address(`198.51.${100 + (i >> 8)}.${i & 255}`);

/** A knock of a client of openme's own (tag and hint), or of a deployed one, dated `atMs` after the start. */
async function knockAt(atMs: number, client: KeyPair, { tagged }: { tagged: boolean }) {
  const ephemeral = await keyPairOf("X25519", random(32));
  return await sealKnock({
    timestampNs: (BigInt(START_MS) + BigInt(Math.floor(atMs))) * 1_000_000n,
    randomNonce: tagged ? await hintedNonce(random(12), client.publicKey) : random(16),
    target: undefined,
  }, {
    serverPublicKey: SERVER_PUBLIC_KEY,
    clientSeed: client.privateKey,
    ephemeral,
    aeadNonce: tagged ? ownNonce(ephemeral.publicKey, START_MS + atMs) : random(12),
  });
}

/** The same with a signature that nobody made, but whose S is below L. */
function unsigned(knock: Uint8Array): Bytes {
  const signature = random(64);
  signature[63]! &= 0x0f;
  return concatBytes(knock.slice(0, OFFSET_SIGNATURE), signature);
}

interface Attack {
  readonly why: string;
  readonly clients: number;
  readonly perSecond: number;
  readonly seconds: number;
  /** Whether the good knocks are of openme's own client. */
  readonly tagged: boolean;
  readonly datagrams: (server: SimulatedServer, count: number) => Promise<Uint8Array[]>;
  readonly source: (i: number) => Address;
  readonly atLeast: number;
  /** How long a good knock may take. */
  readonly withinMs: number;
}

const GOOD = 40;

const watched = (tagged: boolean): Attack["datagrams"] => async ({ clients }, count) => {
  const knock = await knockAt(0, must(clients[0]), { tagged });
  return Array.from({ length: count }, () => unsigned(knock));
};
/** All different: what somebody can make who has this server's public key, and whose own is registered no more. */
const sealed = (tagged: boolean): Attack["datagrams"] => async ({ clients }, count) => {
  const hinted = await hintedNonce(random(12), must(clients[0]).publicKey); // whose key would be tried alone
  return Array.from({ length: count }, () => {
    const ephemeral = random(KEY_SIZE);
    const ephemeralPublic = publicKeyOf("X25519", ephemeral);
    const aeadNonce = tagged ? ownNonce(ephemeralPublic) : random(12);
    const plaintext = concatBytes(random(8), tagged ? hinted : random(16), random(16));
    plaintext.set(timestampBytes(0));
    const key = must(keyAgreement(ephemeral)(SERVER_PUBLIC_KEY));
    const body = concatBytes(
      Uint8Array.of(1),
      ephemeralPublic,
      aeadNonce,
      aeadSeal(key, aeadNonce, plaintext),
    );
    return unsigned(concatBytes(body, random(64)));
  });
};

/** So many ms after the start, as a knock says it. */
function timestampBytes(atMs: number): Bytes {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(START_MS + Math.floor(atMs)) * 1_000_000n);
  return bytes;
}

/** A stamp of now, as an observer sees it, on random bytes; one of two without it. */
const stamped = (share: "all" | "half"): Attack["datagrams"] => (_, count) => {
  const stamp = ownNonce(random(KEY_SIZE)).subarray(0, 4);
  const datagrams = Array.from({ length: count }, (_, i) => {
    const datagram = concatBytes(Uint8Array.of(1), random(164));
    if (share === "all" || i % 2 === 0) datagram.set(stamp, OFFSET_AEAD_NONCE);
    return datagram;
  });
  return Promise.resolve(datagrams);
};

const ATTACKS: Attack[] = [
  {
    why: "stamps of now on junk, 20,000 a second from everywhere",
    ...{ clients: 3, perSecond: 20_000, seconds: 2, tagged: true, datagrams: stamped("all") },
    source: forged,
    ...{ atLeast: GOOD, withinMs: 20 },
  },
  {
    why: "the same, and as much without a stamp",
    ...{ clients: 3, perSecond: 40_000, seconds: 2, tagged: true, datagrams: stamped("half") },
    source: forged,
    ...{ atLeast: GOOD, withinMs: 50 },
  },
  {
    why: "a watched knock with new signatures, 40 a second, against clients that were never seen",
    ...{ clients: 1000, perSecond: 40, seconds: 5, tagged: false, datagrams: watched(false) },
    source: () => MALLORY,
    ...{ atLeast: GOOD, withinMs: 7000 }, // 4,000 signatures a second are looked through for the 20,000
  },
  {
    why: "the same, 2,000 a second from everywhere",
    ...{ clients: 1000, perSecond: 2000, seconds: 5, tagged: false, datagrams: watched(false) },
    source: forged,
    ...{ atLeast: GOOD, withinMs: 7000 },
  },
  {
    why: "a watched tagged knock with new signatures, 20,000 a second from everywhere",
    ...{ clients: 100, perSecond: 20_000, seconds: 2, tagged: true, datagrams: watched(true) },
    source: forged,
    ...{ atLeast: GOOD, withinMs: 100 },
  },
  {
    why: "a removed client's own knocks, 9,000 a second from everywhere, against deployed clients",
    ...{ clients: 3, perSecond: 9000, seconds: 3, tagged: false, datagrams: sealed(true) },
    source: forged,
    ...{ atLeast: GOOD - 6, withinMs: 100 }, // the time that may be taken at once is used up after a second
  },
  {
    why: "a removed client's own knocks, 10,000 a second from one address",
    ...{ clients: 3, perSecond: 10_000, seconds: 3, tagged: true, datagrams: sealed(true) },
    source: () => MALLORY,
    ...{ atLeast: GOOD - 4, withinMs: 100 }, // the kernel passes 1,000 at once, and then 2,000 a second
  },
  {
    why: "a removed client's own knocks, 4,000 a second from everywhere",
    ...{ clients: 3, perSecond: 4000, seconds: 1.5, tagged: true, datagrams: sealed(true) },
    source: forged,
    ...{ atLeast: GOOD - 2, withinMs: 1000 },
  },
  {
    why: "the same without a tag, 1,900 a second from one address, against deployed clients",
    ...{ clients: 100, perSecond: 1900, seconds: 2, tagged: false, datagrams: sealed(false) },
    source: () => MALLORY,
    ...{ atLeast: GOOD - 4, withinMs: 1000 },
  },
];

for (const attack of ATTACKS) {
  const { why, clients, perSecond, seconds, tagged, atLeast, withinMs } = attack;
  Deno.test(`${why}: at least ${atLeast} of ${GOOD} good knocks get in`, async () => {
    using server = await SimulatedServer.create(clients);
    const hostile = await attack.datagrams(server, perSecond * seconds);
    const arrivals: Arrival[] = hostile.map((datagram, i) => ({
      atMs: i / perSecond * 1000,
      datagram,
      source: attack.source(i),
    }));
    const sentMs = Array.from(
      { length: GOOD },
      (_, i) => 200 + i * (seconds * 1000 - 400) / GOOD,
    );
    for (const [i, atMs] of sentMs.entries()) {
      const client = must(server.clients[(i * 37) % clients]);
      arrivals.push({ atMs, datagram: await knockAt(atMs, client, { tagged }), source: home(i) });
    }
    server.run(arrivals);
    const waitedMs = sentMs.flatMap((atMs, i) =>
      server.grants.at(home(i)).map(({ openedAtMs }) => openedAtMs - START_MS - atMs)
    );
    assert.equal(server.grants.size, waitedMs.length, "somebody else was let in");
    const accepted = waitedMs.filter((ms) => ms <= withinMs).length;
    assert.ok(
      accepted >= atLeast,
      `${accepted} got in, after ${Math.max(...waitedMs).toFixed(0)} ms at most`,
    );
  });
}

/** Copies of a watched knock that are ahead of it all the time, from everywhere; each knock goes out in their midst. */
const COPIES = [
  { what: "fronts", perSecond: 20_000, tagged: true, keeps: OFFSET_SEALED },
  { what: "bodies", perSecond: 5000, tagged: true, keeps: OFFSET_SIGNATURE },
  { what: "bodies", perSecond: 10_000, tagged: true, keeps: OFFSET_SIGNATURE },
  { what: "bodies", perSecond: 5000, tagged: false, keeps: OFFSET_SIGNATURE },
];

for (const { what, perSecond, tagged, keeps } of COPIES) {
  const whose = tagged ? "" : ", of a client without tags";
  Deno.test(`${what} of watched knocks, ${perSecond} a second ahead of each${whose}: every knock gets in`, async () => {
    using server = await SimulatedServer.create(3);
    const arrivals: Arrival[] = [];
    for (let i = 0; i < 20; i++) {
      const startMs = i * 600;
      const sentMs = startMs + 300;
      const knock = await knockAt(sentMs, must(server.clients[i % 3]), { tagged });
      for (let j = 0; j < perSecond / 2; j++) {
        const rubbish = random(knock.length - keeps);
        rubbish[rubbish.length - 1]! &= 0x0f; // an S below L, where it is a signature
        arrivals.push({
          atMs: startMs + j * 1000 / perSecond,
          datagram: concatBytes(knock.slice(0, keeps), rubbish),
          source: forged(i * perSecond + j),
        });
      }
      arrivals.push({ atMs: sentMs, datagram: knock, source: home(i) });
    }
    server.run(arrivals);
    assert.equal(server.grants.size, 20);
  });
}

Deno.test("a registered client's own signature on the body of a watched knock does not keep that knock out", async () => {
  using server = await SimulatedServer.create(3);
  const [victim, insider] = [must(server.clients[0]), must(server.clients[1])];
  const knock = await knockAt(20, victim, { tagged: false });
  const body = knock.slice(0, OFFSET_SIGNATURE);
  const signed = concatBytes(body, await sign(insider.privateKey, body));
  const copies = Array.from(
    { length: 50 },
    () => ({ atMs: 10, datagram: signed, source: MALLORY }),
  );
  server.run([
    { atMs: 0, datagram: signed, source: MALLORY },
    ...copies,
    { atMs: 10.01, datagram: knock, source: home(0) }, // in the same breath
  ]);
  assert.equal(server.grants.at(home(0)).length, 1);
});
