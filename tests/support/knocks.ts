/**
 * What the unit tests share: fixed keys, one server with registered clients, sealing, and arbitrary values. Everything
 * is fixed unless a test asks for something else, so that a failure reproduces exactly.
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Address, addressFromBytes16, parseAddress } from "../../lib/values/address.ts";
import type { Moment } from "../../lib/values/moment.ts";
import {
  type Bytes,
  bytesToHex,
  concatBytes,
  hexToBytes,
  type KeyPair,
  keyPairOf,
  stampWindowOf,
} from "../../lib/crypto/keys.ts";
import { seedSigner } from "../../lib/crypto/signer.ts";
import {
  fingerprintBytes,
  keyAgreement,
  knockStamps,
  knockTags,
  publicKeyOf,
  signatureVerifier,
} from "../../lib/crypto/sync.ts";
import { type DropReason, type GateClient, type GateRules, type Verdict } from "../../lib/gate.ts";
import type { Grant, Permission } from "../../lib/grants.ts";
import { type Network, parseNetwork } from "../../lib/values/network.ts";
import { sealFresh } from "../../lib/client/knock.ts";
import { type Knock, sealKnock } from "../../lib/packet.ts";
import { expandPortSpec, parsePortSpec } from "../../lib/values/ports.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { RankedCandidates } from "../../lib/receive/candidates.ts";
import { judge } from "./judge.ts";

/** The value, where a test knows that there is one. */
export function must<T>(value: T | null | undefined): T {
  assert.ok(value !== null && value !== undefined, "expected a value");
  return value;
}

/** The address that a text certainly is. */
export function address(text: string): Address {
  return must(parseAddress(text));
}

/** The network, or single address, that a text certainly is. */
export function network(text: string): Network {
  return must(parseNetwork(text));
}

/** `size` bytes, all the same. */
export function filled(value: number, size = 32): Bytes {
  return new Uint8Array(size).fill(value);
}

/** The same bytes with one bit turned over. */
export function flipBit(bytes: Uint8Array, bit: number): Bytes {
  const flipped = Uint8Array.from(bytes);
  flipped[bit >> 3] = must(flipped[bit >> 3]) ^ (1 << (bit & 7));
  return flipped;
}

/** 32 bytes in hex, least significant first: how the curves write numbers. */
export function littleEndian(value: bigint): string {
  return bytesToHex(hexToBytes(value.toString(16).padStart(64, "0")).reverse());
}

export const NOW_NS = 1_790_000_000_123_456_789n;
export const WINDOW_NS = 60_000_000_000n;
export const DAY_NS = 86_400_000_000_000n;
export const SOURCE = address("198.51.100.20");

export const SERVER_PRIVATE_KEY = filled(0x51);
export const SERVER_PUBLIC_KEY = publicKeyOf("X25519", SERVER_PRIVATE_KEY);
export const agreeAsServer = keyAgreement(SERVER_PRIVATE_KEY);

/** The AEAD nonce with which openme's own client seals under this ephemeral key at that time. */
export function ownNonce(ephemeralPublicKey: Uint8Array, atMs = START_MS): Bytes {
  const stamp = knockStamps(SERVER_PUBLIC_KEY)(stampWindowOf(atMs / 1000));
  return concatBytes(stamp, knockTags(SERVER_PUBLIC_KEY)(stamp, ephemeralPublicKey));
}

/** A client, registered or not, with its seed. */
export interface Sender extends GateClient {
  readonly seed: Bytes;
  readonly publicKey: Bytes;
}

/** A client whose seed is one byte, 32 times. */
export function sender(name: string, seedByte: number, expiresNs?: bigint): Sender {
  const seed = filled(seedByte);
  const publicKey = publicKeyOf("Ed25519", seed);
  return {
    name,
    seed,
    publicKey,
    key: bytesToHex(publicKey),
    verify: signatureVerifier(publicKey),
    expiresNs,
  };
}

export const ALICE = sender("alice", 0xa1);
export const BOB = sender("bob", 0xb0);
/** What alice's own openme knows. */
export const ALICE_PROFILE = {
  serverPublicKey: SERVER_PUBLIC_KEY,
  clientSeed: ALICE.seed,
  clientPublicKey: ALICE.publicKey,
  identity: undefined,
  totp: false,
  signer: seedSigner({ privateKey: ALICE.seed, publicKey: ALICE.publicKey }),
};
/** The datagram that openme's own client sends with these keys now, for its own source. */
export async function freshKnock(keys: Parameters<typeof sealFresh>[0]): Promise<Bytes> {
  return (await sealFresh(keys, undefined)).datagram;
}
/** Never registered. */
export const MALLORY = sender("mallory", 0x66);

const EPHEMERAL = await keyPairOf("X25519", filled(0xe5));

/**
 * A knock by the given sender, for the server above: now and for its own source, unless told otherwise. Its bytes are
 * determined; a running server wants another ephemeral key for each.
 */
export function knockBy(
  { seed }: Sender,
  knock: Partial<Knock> = {},
  ephemeral: KeyPair = EPHEMERAL,
): Promise<Bytes> {
  return sealKnock(
    { timestampNs: NOW_NS, randomNonce: filled(0x70, 16), target: undefined, ...knock },
    {
      serverPublicKey: SERVER_PUBLIC_KEY,
      clientSeed: seed,
      ephemeral,
      aeadNonce: filled(0xae, 12),
    },
  );
}

/** These keys as a configuration indexes them. */
export function indexOf<T extends { readonly key: string }>(keys: readonly T[]) {
  const hintOf = ({ key }: T) => {
    const { buffer, byteOffset } = fingerprintBytes(hexToBytes(key));
    return new DataView(buffer, byteOffset).getUint32(0);
  };
  return {
    byKey: new Map(keys.map((each) => [each.key, each])),
    byHint: Map.groupBy(keys, hintOf),
  };
}

/** Rules with a fresh memory and room for everyone, for alice and bob unless told otherwise. */
export function freshRules(
  { clients = [ALICE, BOB], ...rules }:
    & Partial<Omit<GateRules, "clients">>
    & { clients?: readonly GateClient[] } = {},
): GateRules {
  const keys = indexOf(clients);
  return {
    agree: agreeAsServer,
    candidates: new RankedCandidates(keys),
    clients: keys.byKey,
    replayWindowNs: WINDOW_NS,
    replay: new ReplayMemory(),
    hasRoom: () => true,
    ...rules,
  };
}

/** The same memory after a restart: everything written down and put back. */
export function restarted(memory: ReplayMemory, quota?: number): ReplayMemory {
  const again = new ReplayMemory(quota === undefined ? {} : { quota });
  if (memory.floorNs !== undefined) again.raiseFloor(memory.floorNs);
  if (memory.beganNs !== undefined) again.begin(memory.beganNs);
  for (const [key, markNs] of memory.watermarks()) again.restoreWatermark(key, markNs);
  for (const [key, nonce, timestampNs] of memory.entries()) {
    again.restore(
      key,
      Uint8Array.from(must(nonce.match(/../g)), (hex) => parseInt(hex, 16)),
      timestampNs,
    );
  }
  return again;
}

/** Wall clock of {@linkcode moment} 0, ms since 1970. */
export const START_MS = 1_790_000_000_000;

/** A moment so many ms after an arbitrary one, on both clocks. */
export function moment(ms: number): Moment {
  return { wallNs: BigInt(START_MS + ms) * 1_000_000n, steadyMs: 5_000_000 + ms };
}

/** A permission for these ports: 30 s a knock and without an end, unless told otherwise. */
export function permission(
  client: string,
  ports: readonly string[],
  rest: Partial<Permission> = {},
): Permission {
  return {
    client,
    key: `key of ${client}`,
    ports: ports.flatMap((text) => expandPortSpec(must(parsePortSpec(text)))),
    lifetimeMs: 30_000,
    expiresAtMs: undefined,
    ...rest,
  };
}

/** A grant to SSH, a range and DNS, ends 30 s after it began. */
export function grantOf(client: string, at = "198.51.100.20", grant: Partial<Grant> = {}): Grant {
  return {
    client,
    key: "a1".repeat(32),
    address: network(at),
    ports: [
      { protocol: "tcp", first: 22, last: 22 },
      { protocol: "tcp", first: 8080, last: 8090 },
      { protocol: "udp", first: 53, last: 53 },
    ],
    openedAtMs: 1_790_000_000_123,
    expiresAtMs: 1_790_000_030_123.25,
    endsSteadyMs: 1_030_000.75,
    ...grant,
  };
}

/** The verdict in one word: `grant`, or the reason for the drop. */
export function outcomeOf(verdict: Verdict): "grant" | DropReason {
  return verdict.kind === "grant" ? "grant" : verdict.reason;
}

/** What the gate says of a datagram, by default from SOURCE and now. */
export function outcome(
  datagram: Uint8Array,
  rules: GateRules,
  { source = SOURCE, nowNs = NOW_NS }: { source?: Address; nowNs?: bigint } = {},
): string {
  return outcomeOf(judge(datagram, source, nowNs, rules));
}

/** Everything that the memory holds, to compare before and after. */
export function memoryOf({ replay }: GateRules) {
  return { entries: [...replay.entries()], marks: [...replay.watermarks()], floor: replay.floorNs };
}

/** Exactly `size` arbitrary bytes. */
export function anyBytes(size: number): fc.Arbitrary<Bytes> {
  return fc.uint8Array({ minLength: size, maxLength: size }).map((bytes) => Uint8Array.from(bytes));
}

export const anyInt64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

const anyV4 = anyBytes(4).map((bytes): Address => ({ family: 4, bytes }));

/** IPv6 with many runs of zeros, which is where writing it down goes wrong; never an IPv4-mapped one. */
const anyV6 = fc.array(fc.oneof(fc.constant(0), fc.constant(0xffff), fc.nat(0xffff)), {
  minLength: 8,
  maxLength: 8,
}).map((groups) =>
  addressFromBytes16(Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])))
).filter(({ family }) => family === 6);

export const anyAddress = fc.oneof(anyV4, anyV6);
