/**
 * Hostile datagrams of every class that anybody has thought of, from a seed: each with the reasons that the gate may
 * drop it for. The same seed makes the same datagrams.
 */

import { parseAddress } from "../../lib/address.ts";
import {
  aeadSeal,
  type Bytes,
  concatBytes,
  hexToBytes,
  type KeyPair,
  sign,
} from "../../lib/crypto.ts";
import { keyAgreement, knockTags, publicKeyOf } from "../../lib/crypto_sync.ts";
import { type Knock, sealKnock } from "../../lib/packet.ts";
import {
  ALICE,
  BOB,
  filled,
  littleEndian,
  MALLORY,
  must,
  NOW_NS,
  SERVER_PUBLIC_KEY,
  WINDOW_NS,
} from "../support.ts";

/** One datagram and the verdicts that are right for it. */
export interface Hostile {
  readonly why: string;
  readonly datagram: Uint8Array;
  readonly expected: readonly string[];
}

const SIZE = ["size"];
const RIGHT_SIZED = ["version", "key_agreement", "decrypt", "signature"];

/** mulberry32: numbers that only have to be different, and the same for the same seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  }

  bytes(size: number): Bytes {
    return Uint8Array.from({ length: size }, () => this.below(256));
  }
}

/** u of every X25519 point of low order, canonical or not (RFC 7748 section 7, and Wycheproof's list). */
export const LOW_ORDER_KEYS: readonly string[] = (() => {
  const p = 2n ** 255n - 19n;
  const points = [
    0n,
    1n,
    325606250916557431795983626356110631294008115727848805560023387167927233504n,
    39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  ];
  const values = [...points, p - 1n, p, p + 1n, ...points.slice(2).map((each) => each + p)];
  return values.filter((each) => each < 2n ** 255n)
    .flatMap((each) => [littleEndian(each), littleEndian(each + 2n ** 255n)]);
})();

const L = 2n ** 252n + 27742317777372353535851937790883648493n;

/** A sealed body, with any AEAD nonce and ephemeral key, for signatures that no library would make. */
function bodyOf(random: Random, { plaintext }: { plaintext?: Uint8Array } = {}): Bytes {
  const privateKey = random.bytes(32);
  const ephemeral = { privateKey, publicKey: publicKeyOf("X25519", privateKey) };
  const key = must(keyAgreement(privateKey)(SERVER_PUBLIC_KEY));
  const nonce = random.bytes(12);
  const content = plaintext ?? concatBytes(
    hexToBytes(NOW_NS.toString(16).padStart(16, "0")),
    random.bytes(16),
    new Uint8Array(16),
  );
  return concatBytes(Uint8Array.of(1), ephemeral.publicKey, nonce, aeadSeal(key, nonce, content));
}

/** A good knock by a registered client, or by a stranger. */
export async function good(
  random: Random,
  { seed }: { seed: Bytes } = ALICE,
  knock: Partial<Knock> = {},
): Promise<Bytes> {
  const privateKey = random.bytes(32);
  const ephemeral: KeyPair = { privateKey, publicKey: publicKeyOf("X25519", privateKey) };
  return await sealKnock(
    { timestampNs: NOW_NS, randomNonce: random.bytes(16), target: undefined, ...knock },
    {
      serverPublicKey: SERVER_PUBLIC_KEY,
      clientSeed: seed,
      ephemeral,
      aeadNonce: knockTags(SERVER_PUBLIC_KEY)(ephemeral.publicKey),
    },
  );
}

/** Every class once over, about 130,000 datagrams; the seed varies what can vary. */
export async function* hostileDatagrams(random: Random): AsyncGenerator<Hostile> {
  const knock = await good(random);
  yield* lengths(random, knock);
  yield* mutations(random, knock);
  yield* splices(random, knock, await good(random, BOB));
  yield* curvePoints(knock);
  yield* await signatures(random);
  yield* await times(random);
  yield* await targets(random);
  yield* junk(random);
}

function* lengths(random: Random, knock: Bytes): Generator<Hostile> {
  const sizes = [...Array.from({ length: 1501 }, (_, size) => size), 9000, 65_507];
  for (const size of sizes) {
    const noise = random.bytes(size);
    const padded = new Uint8Array(size);
    padded.set(knock.subarray(0, size));
    for (const datagram of size === 165 ? [noise] : [noise, padded]) {
      yield { why: `${size} bytes`, datagram, expected: size === 165 ? RIGHT_SIZED : SIZE };
    }
  }
}

function* mutations(random: Random, knock: Bytes): Generator<Hostile> {
  for (let at = 0; at < knock.length; at++) {
    for (let value = 0; value < 256; value++) {
      if (value === knock[at]) continue;
      const datagram = knock.slice();
      datagram[at] = value; // every bit is among them
      yield { why: `byte ${at} is ${value}`, datagram, expected: RIGHT_SIZED };
    }
  }
  for (let i = 0; i < 60_000; i++) {
    const datagram = knock.slice();
    for (let changes = 2 + random.below(8); changes > 0; changes--) {
      // Half of them leave the front as it is: what bears a tag goes another way.
      const at = i % 2 ? random.below(165) : 45 + random.below(120);
      datagram[at]! ^= 1 + random.below(255);
    }
    if (datagram.some((byte, at) => byte !== knock[at])) {
      yield { why: "several bytes changed", datagram, expected: RIGHT_SIZED };
    }
  }
}

function* splices(random: Random, one: Bytes, other: Bytes): Generator<Hostile> {
  const isGood = (datagram: Bytes) =>
    [one, other].some((each) => each.every((byte, at) => byte === datagram[at]));
  for (let cut = 1; cut < 165; cut++) {
    const rows = [
      {
        why: `spliced at ${cut}`,
        datagram: concatBytes(one.subarray(0, cut), other.subarray(cut)),
      },
      {
        why: `front of ${cut} on rubbish`,
        datagram: concatBytes(one.subarray(0, cut), random.bytes(165 - cut)),
      },
    ];
    for (const { why, datagram } of rows) {
      // Where all that is replaced happens to be the same, such as the last byte of S, it is a good knock.
      if (!isGood(datagram)) yield { why, datagram, expected: RIGHT_SIZED };
    }
  }
}

function* curvePoints(knock: Bytes): Generator<Hostile> {
  for (const hex of LOW_ORDER_KEYS) {
    const datagram = knock.slice();
    datagram.set(hexToBytes(hex), 1);
    yield { why: `low order ${hex}`, datagram, expected: ["key_agreement"] };
  }
  for (let i = 0n; i < 19n; i++) { // p to 2^255 - 1: not canonical
    const datagram = knock.slice();
    datagram.set(hexToBytes(littleEndian(2n ** 255n - 19n + i)), 1);
    yield { why: `p + ${i}`, datagram, expected: ["key_agreement", "decrypt"] };
  }
}

async function signatures(random: Random): Promise<Hostile[]> {
  const rows: Hostile[] = [];
  const add = (why: string, body: Uint8Array, signature: Uint8Array) => {
    rows.push({ why, datagram: concatBytes(body, signature), expected: ["signature"] });
  };
  for (let round = 0; round < 40; round++) {
    const body = bodyOf(random);
    const signature = await sign(ALICE.seed, body);
    const r = signature.subarray(0, 32);
    const s = BigInt(
      "0x" +
        [...signature.subarray(32)].reverse().map((b) => b.toString(16).padStart(2, "0")).join(""),
    );
    for (let multiple = 1n; s + multiple * L < 2n ** 256n; multiple++) {
      add(`S + ${multiple} L`, body, concatBytes(r, hexToBytes(littleEndian(s + multiple * L))));
    }
    for (const point of SMALL_ORDER_R) {
      add("R of small order", body, concatBytes(hexToBytes(point), signature.subarray(32)));
      add("R of small order, S = 0", body, concatBytes(hexToBytes(point), filled(0)));
    }
    const negative = signature.slice();
    negative[31]! ^= 0x80;
    add("the sign of R", body, negative);
    add("right seal, a stranger's signature", body, await sign(MALLORY.seed, body));
    add("right seal, random signature", body, random.bytes(64));
    add("right seal, no signature", body, filled(0, 64));
    add("signed without the version", body, await sign(ALICE.seed, body.slice(1)));
    // A right signature does not help a wrong seal.
    const unsealed = concatBytes(body.subarray(0, 45), random.bytes(56));
    rows.push({
      why: "right signature, wrong seal",
      datagram: concatBytes(unsealed, await sign(ALICE.seed, unsealed)),
      expected: ["decrypt"],
    });
  }
  return rows;
}

/** Ed25519 points of small order, canonical and not, as R. */
const SMALL_ORDER_R: readonly string[] = (() => {
  const torsion = ["00".repeat(32), "01" + "00".repeat(31), "ec" + "ff".repeat(30) + "7f"];
  const eighth = [
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  ];
  const beyond = ["ed" + "ff".repeat(30) + "7f", "ee" + "ff".repeat(30) + "7f"];
  return [...torsion, ...eighth, ...beyond].flatMap((hex) => {
    const signed = hexToBytes(hex);
    signed[31]! |= 0x80;
    return [hex, Array.from(signed, (byte) => byte.toString(16).padStart(2, "0")).join("")];
  });
})();

async function times(random: Random): Promise<Hostile[]> {
  const edge = 2n ** 63n;
  const stale = [
    -edge,
    -edge + 1n,
    -1n,
    0n,
    1n,
    edge - 1n,
    NOW_NS / 1_000_000_000n,
    NOW_NS / 1_000_000n,
  ]
    .concat(
      [WINDOW_NS + 1n, WINDOW_NS * 2n, WINDOW_NS + 1_000_000n].flatMap((
        each,
      ) => [NOW_NS - each, NOW_NS + each]),
    );
  return await Promise.all(stale.map(async (timestampNs) => ({
    why: `dated ${timestampNs}`,
    datagram: await good(random, ALICE, { timestampNs }),
    expected: ["stale"],
  })));
}

async function targets(random: Random): Promise<Hostile[]> {
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
  return await Promise.all(texts.map(async (text) => ({
    why: `target ${text}`,
    datagram: await good(random, ALICE, { target: must(parseAddress(text)) }),
    expected: ["target"],
  })));
}

function* junk(random: Random): Generator<Hostile> {
  for (let i = 0; i < 20_000; i++) {
    const datagram = random.bytes(165);
    if (i % 8) datagram[0] = 1;
    yield { why: "random", datagram, expected: RIGHT_SIZED };
  }
}
