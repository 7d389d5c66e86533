/**
 * Hostile datagrams of every class that anybody has thought of, from a seed: each with the one reason that it must be
 * dropped for. The same seed makes the same datagrams.
 */

import { parseAddress } from "../../lib/values/address.ts";
import {
  aeadSeal,
  type Bytes,
  concatBytes,
  hexToBytes,
  type KeyPair,
  knockNonce,
  sign,
} from "../../lib/crypto/keys.ts";
import { keyAgreement, publicKeyOf } from "../../lib/crypto/sync.ts";
import { hintedNonce, type Knock, sealKnock } from "../../lib/packet.ts";
import scenarioFile from "../vectors/scenarios.json" with { type: "json" };
import {
  ALICE,
  BOB,
  filled,
  littleEndian,
  MALLORY,
  must,
  NOW_NS,
  sender,
  SERVER_PUBLIC_KEY,
  WINDOW_NS,
} from "../support/knocks.ts";
import { LOW_ORDER_KEYS, NON_CANONICAL_KEYS, SMALL_ORDER_POINTS } from "./curve_points.ts";
import type { Random } from "./random.ts";

/** The server that the datagrams are for, and who may knock there. */
export interface World {
  readonly serverPublicKey: Bytes;
  /** The seeds of clients: two that are good, one whose key has expired. */
  readonly alice: Bytes;
  readonly bob: Bytes;
  readonly expired: Bytes;
  readonly nowNs: bigint;
  readonly windowNs: bigint;
}

export const EXPIRED = sender("expired", 0xee, NOW_NS - 1n);

/** The server of the unit tests, with {@linkcode EXPIRED} among its clients. */
export const UNIT_WORLD: World = {
  serverPublicKey: SERVER_PUBLIC_KEY,
  alice: ALICE.seed,
  bob: BOB.seed,
  expired: EXPIRED.seed,
  nowNs: NOW_NS,
  windowNs: WINDOW_NS,
};

/** One datagram and the verdict that is right for it. */
export interface Hostile {
  readonly why: string;
  readonly datagram: Uint8Array;
  readonly expected: string;
}

/** A class of hostile datagrams: all there are of it in one round. */
type Class = (random: Random, world: World) => AsyncGenerator<Hostile>;

/** About 130,000 datagrams in a round; the seed varies what can vary. */
export const CLASSES: Readonly<Record<string, Class>> = {
  lengths,
  "one byte changed": oneByte,
  "bytes changed": someBytes,
  splices,
  "X25519 points": curvePoints,
  signatures,
  "wrong signer": wrongSigners,
  times,
  targets,
  "scenario vectors": scenarios,
  junk,
};

/** Every class once over. */
export async function* hostileDatagrams(random: Random, world = UNIT_WORLD) {
  for (const make of Object.values(CLASSES)) yield* make(random, world);
}

/** A good knock by a client, or by a stranger, with tag and hint as openme's own. */
export async function good(
  random: Random,
  { seed }: { seed: Bytes } = ALICE,
  knock: Partial<Knock> = {},
  world = UNIT_WORLD,
): Promise<Bytes> {
  const privateKey = random.bytes(32);
  const ephemeral: KeyPair = { privateKey, publicKey: publicKeyOf("X25519", privateKey) };
  const { serverPublicKey, nowNs } = world;
  return await sealKnock(
    {
      timestampNs: nowNs,
      randomNonce: await hintedNonce(random.bytes(12), publicKeyOf("Ed25519", seed)),
      target: undefined,
      ...knock,
    },
    {
      serverPublicKey,
      clientSeed: seed,
      ephemeral,
      aeadNonce: await knockNonce(serverPublicKey, ephemeral.publicKey, Number(nowNs) / 1e9),
    },
  );
}

/** A good knock in a world, by alice unless told otherwise. */
export function goodIn(
  random: Random,
  world: World,
  { seed = world.alice, ...knock }: Partial<Knock> & { seed?: Bytes } = {},
): Promise<Bytes> {
  return good(random, { seed }, knock, world);
}

/** A sealed body, with any AEAD nonce and ephemeral key, for signatures that no library would make. */
function bodyOf(random: Random, { serverPublicKey, nowNs }: World): Bytes {
  const privateKey = random.bytes(32);
  const ephemeral = { privateKey, publicKey: publicKeyOf("X25519", privateKey) };
  const key = must(keyAgreement(privateKey)(serverPublicKey));
  const nonce = random.bytes(12);
  const content = concatBytes(
    hexToBytes(nowNs.toString(16).padStart(16, "0")),
    random.bytes(16),
    new Uint8Array(16),
  );
  return concatBytes(Uint8Array.of(1), ephemeral.publicKey, nonce, aeadSeal(key, nonce, content));
}

/**
 * Why a datagram of the right size is dropped that was made of these knocks, and is none of them. X25519 ignores the
 * last bit of the ephemeral key: with only that turned over the seal still opens, and the signature does not hold.
 */
function flawOf(datagram: Uint8Array, ...knocks: readonly Uint8Array[]): string {
  if (datagram[0] !== 1) return "version";
  const opens = knocks.some((knock) =>
    knock.subarray(0, 101).every((byte, at) =>
      at === 32 ? (byte & 0x7f) === (datagram[at]! & 0x7f) : byte === datagram[at]
    )
  );
  return opens ? "signature" : "decrypt";
}

const isSame = (a: Uint8Array, b: Uint8Array) => a.every((byte, at) => byte === b[at]);

/** @yields every length from nothing to 1,500, and the largest: noise, and a knock that is cut or goes on. */
async function* lengths(random: Random, world: World): AsyncGenerator<Hostile> {
  const knock = await goodIn(random, world);
  const sizes = [...Array.from({ length: 1501 }, (_, size) => size), 9000, 65_507];
  for (const size of sizes) {
    const noise = random.bytes(size);
    const padded = new Uint8Array(size);
    padded.set(knock.subarray(0, size));
    for (const datagram of size === 165 ? [noise] : [noise, padded]) {
      const expected = size === 165 ? flawOf(datagram, knock) : "size";
      yield { why: `${size} bytes`, datagram, expected };
    }
  }
}

/** @yields every value of every byte of a good knock: every bit is among them. */
async function* oneByte(random: Random, world: World): AsyncGenerator<Hostile> {
  const knock = await goodIn(random, world);
  for (let at = 0; at < knock.length; at++) {
    for (let value = 0; value < 256; value++) {
      if (value === knock[at]) continue;
      const datagram = knock.slice();
      datagram[at] = value;
      yield { why: `byte ${at} is ${value}`, datagram, expected: flawOf(datagram, knock) };
    }
  }
}

async function* someBytes(random: Random, world: World): AsyncGenerator<Hostile> {
  const knock = await goodIn(random, world);
  for (let i = 0; i < 60_000; i++) {
    const datagram = knock.slice();
    for (let changes = 2 + random.below(8); changes > 0; changes--) {
      // Half of them leave the front as it is: what bears a tag goes another way.
      const at = i % 2 ? random.below(165) : 45 + random.below(120);
      datagram[at]! ^= 1 + random.below(255);
    }
    if (isSame(datagram, knock)) continue;
    yield { why: "several bytes changed", datagram, expected: flawOf(datagram, knock) };
  }
}

async function* splices(random: Random, world: World): AsyncGenerator<Hostile> {
  const [one, other] = [
    await goodIn(random, world),
    await goodIn(random, world, { seed: world.bob }),
  ];
  for (let cut = 1; cut < 165; cut++) {
    const rows = [
      { why: `spliced at ${cut}`, rest: other.subarray(cut) },
      { why: `front of ${cut} on rubbish`, rest: random.bytes(165 - cut) },
    ];
    for (const { why, rest } of rows) {
      const datagram = concatBytes(one.subarray(0, cut), rest);
      // Where all that is replaced happens to be the same, such as the last byte of S, it is a good knock.
      if (isSame(datagram, one) || isSame(datagram, other)) continue;
      yield { why, datagram, expected: flawOf(datagram, one, other) };
    }
  }
}

async function* curvePoints(random: Random, world: World): AsyncGenerator<Hostile> {
  const knock = await goodIn(random, world);
  const rows = [
    ...LOW_ORDER_KEYS.map((hex) => ({ hex, isLowOrder: true })),
    ...NON_CANONICAL_KEYS,
  ];
  for (const { hex, isLowOrder } of rows) {
    const datagram = knock.slice();
    datagram.set(hexToBytes(hex), 1);
    yield {
      why: `ephemeral key ${hex}`,
      datagram,
      expected: isLowOrder ? "key_agreement" : "decrypt",
    };
  }
}

const L = 2n ** 252n + 27742317777372353535851937790883648493n;

async function* signatures(random: Random, world: World): AsyncGenerator<Hostile> {
  for (let round = 0; round < 40; round++) {
    const body = bodyOf(random, world);
    const row = (why: string, signature: Uint8Array) => ({
      why,
      datagram: concatBytes(body, signature),
      expected: "signature",
    });
    const signature = await sign(world.alice, body);
    const [r, sBytes] = [signature.subarray(0, 32), signature.subarray(32)];
    const s = sBytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
    for (let multiple = 1n; s + multiple * L < 2n ** 256n; multiple++) {
      yield row(
        `S + ${multiple} L`,
        concatBytes(r, hexToBytes(littleEndian(s + multiple * L))),
      );
    }
    for (const point of SMALL_ORDER_POINTS) {
      yield row("R of small order", concatBytes(hexToBytes(point), sBytes));
      // Under a public key of small order, one of these would hold for any message.
      yield row("R of small order, S = 0", concatBytes(hexToBytes(point), filled(0)));
    }
    const negative = signature.slice();
    negative[31]! ^= 0x80;
    yield row("the sign of R", negative);
    yield row("random signature", random.bytes(64));
    yield row("no signature", filled(0, 64));
    yield row("signed without the version", await sign(world.alice, body.slice(1)));
    // A right signature does not help a wrong seal.
    const unsealed = concatBytes(body.subarray(0, 45), random.bytes(56));
    yield {
      why: "right signature, wrong seal",
      datagram: concatBytes(unsealed, await sign(world.alice, unsealed)),
      expected: "decrypt",
    };
  }
}

async function* wrongSigners(random: Random, world: World): AsyncGenerator<Hostile> {
  for (let round = 0; round < 40; round++) {
    yield {
      why: "a stranger's knock",
      datagram: await good(random, MALLORY, {}, world),
      expected: "signature",
    };
    const datagram = await goodIn(random, world, { seed: world.expired });
    yield { why: "an expired key's knock", datagram, expected: "expired" };
  }
}

async function* times(random: Random, world: World): AsyncGenerator<Hostile> {
  const { nowNs, windowNs } = world;
  const edge = 2n ** 63n;
  const distances = [windowNs + 1n, windowNs * 2n, windowNs + 1_000_000n];
  const stale = [
    ...[-edge, -edge + 1n, -1n, 0n, 1n, edge - 1n, nowNs / 1_000_000_000n, nowNs / 1_000_000n],
    ...distances.flatMap((each) => [nowNs - each, nowNs + each]),
  ];
  for (const timestampNs of stale) {
    const datagram = await goodIn(random, world, { timestampNs });
    yield { why: `dated ${timestampNs}`, datagram, expected: "stale" };
  }
}

async function* targets(random: Random, world: World): AsyncGenerator<Hostile> {
  const texts = [
    "0.0.0.1",
    "127.0.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "ff02::1",
    "::7f00:1",
  ];
  for (const text of texts) {
    const datagram = await goodIn(random, world, { target: must(parseAddress(text)) });
    yield { why: `target ${text}`, datagram, expected: "target" };
  }
}

/** @yields what was sealed to the server of the vectors, at this one: what the seal hides is of no consequence here. */
async function* scenarios(): AsyncGenerator<Hostile> {
  for (const { name, steps } of scenarioFile.scenarios) {
    for (const { packet_hex, expect } of steps) {
      const isOutside = ["size", "version", "key_agreement"].includes(expect);
      yield {
        why: `scenario ${name}`,
        datagram: hexToBytes(packet_hex),
        expected: isOutside ? expect : "decrypt",
      };
    }
  }
}

async function* junk(random: Random): AsyncGenerator<Hostile> {
  for (let i = 0; i < 20_000; i++) {
    const datagram = random.bytes(165);
    if (i % 8) datagram[0] = 1;
    yield { why: "random", datagram, expected: flawOf(datagram) };
  }
}
