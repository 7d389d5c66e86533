/**
 * The wire format of a knock: one to one with "The datagram" in docs/protocol.md. Sizes, offsets, seal and unseal;
 * whose signature it is and whether it is wanted now is for `gate.ts`.
 */

import {
  type Address,
  addressFromBytes16,
  addressToBytes16,
  isUnspecified,
} from "./values/address.ts";
import {
  AEAD_NONCE_SIZE,
  AEAD_TAG_SIZE,
  aeadOpen,
  aeadSeal,
  agree,
  type Bytes,
  concatBytes,
  deriveAeadKey,
  KEY_SIZE,
  type KeyAgreement,
  type KeyPair,
  type KnockTags,
  sha256,
  sign,
  SIGNATURE_SIZE,
  STAMP_SIZE,
} from "./crypto/keys.ts";

export const VERSION = 1;

// Plaintext: timestamp, random nonce, target address.
export const TIMESTAMP_SIZE = 8; //     int64, big-endian, ns since 1970
export const RANDOM_NONCE_SIZE = 16; // makes every knock a different one
export const HINT_SIZE = 4; //          the end of the random nonce, in openme's own knocks: whose signature to try first
export const OFFSET_CODE = 8; //        in the random nonce, in knocks with a code: 4 bytes, big-endian
export const OFFSET_HINT = RANDOM_NONCE_SIZE - HINT_SIZE; // = 12, behind it
export const TARGET_SIZE = 16; //       IPv6, or IPv4 as ::ffff:a.b.c.d; the wildcard is all zero or ::ffff:0.0.0.0
export const PLAINTEXT_SIZE = TIMESTAMP_SIZE + RANDOM_NONCE_SIZE + TARGET_SIZE; // = 40

// Datagram: version, ephemeral key, AEAD nonce, sealed plaintext, signature.
export const OFFSET_EPHEMERAL_KEY = 1;
export const OFFSET_AEAD_NONCE = OFFSET_EPHEMERAL_KEY + KEY_SIZE; //             = 33
export const OFFSET_TAG = OFFSET_AEAD_NONCE + STAMP_SIZE; //                     = 37, in openme's own knocks
export const OFFSET_SEALED = OFFSET_AEAD_NONCE + AEAD_NONCE_SIZE; //             = 45
export const OFFSET_SIGNATURE = OFFSET_SEALED + PLAINTEXT_SIZE + AEAD_TAG_SIZE; // = 101
export const PACKET_SIZE = OFFSET_SIGNATURE + SIGNATURE_SIZE; //                 = 165

/** What a knock says. */
export interface Knock {
  /** ns since 1970, any int64. */
  readonly timestampNs: bigint;
  /** 16 bytes. */
  readonly randomNonce: Uint8Array;
  /** Whom to let in; `undefined` is the wildcard: the datagram's own source. */
  readonly target: Address | undefined;
}

/** What sealing needs beside the knock itself; all of it is given, so that the bytes are determined. */
export interface SealingKeys {
  /** The server's X25519 public key, 32 bytes. */
  readonly serverPublicKey: Bytes;
  /** The client's Ed25519 seed, 32 bytes. */
  readonly clientSeed: Bytes;
  /** X25519, fresh for every knock. */
  readonly ephemeral: KeyPair;
  /** 12 bytes. */
  readonly aeadNonce: Bytes;
}

/**
 * The datagram of a knock, 165 bytes. Throws where the server's key is of low order.
 *
 * @example
 * ```ts
 * import { keyPairOf } from "./crypto/keys.ts";
 * import { sealKnock } from "./packet.ts";
 * const [server, ephemeral] = await Promise.all([7, 8].map((n) => keyPairOf("X25519", new Uint8Array(32).fill(n))));
 * const datagram = await sealKnock(
 *   { timestampNs: 1_700_000_000_000_000_000n, randomNonce: new Uint8Array(16), target: undefined },
 *   { serverPublicKey: server!.publicKey, clientSeed: new Uint8Array(32), ephemeral: ephemeral!, aeadNonce: new Uint8Array(12) },
 * );
 * if (datagram.length !== 165 || datagram[0] !== 1) throw new Error("unexpected");
 * ```
 */
export async function sealKnock(knock: Knock, keys: SealingKeys): Promise<Bytes> {
  const body = await sealBody(knock, keys);
  return concatBytes(body, await sign(keys.clientSeed, body));
}

/** Bytes 0..101 of the datagram: what the client's key signs. Throws where the server's key is of low order. */
export async function sealBody(
  knock: Knock,
  keys: Omit<SealingKeys, "clientSeed">,
): Promise<Bytes> {
  const secret = await agree(keys.ephemeral.privateKey, keys.serverPublicKey);
  const sealed = aeadSeal(await deriveAeadKey(secret), keys.aeadNonce, encodePlaintext(knock));
  return concatBytes(Uint8Array.of(VERSION), keys.ephemeral.publicKey, keys.aeadNonce, sealed);
}

/**
 * The random nonce of openme's own knocks: 96 random bits, then the first 4 bytes of the client's fingerprint. It is
 * inside the encryption, and saves the server from trying every client's key.
 */
export async function hintedNonce(random: Bytes, clientPublicKey: Bytes): Promise<Bytes> {
  if (random.length !== OFFSET_HINT) {
    throw new RangeError(`"random" expected ${OFFSET_HINT} bytes, got ${random.length}`);
  }
  return concatBytes(random, (await sha256(clientPublicKey)).subarray(0, HINT_SIZE));
}

/** What stands in the place of the code. In knocks without one it is random. */
export function codeOf(randomNonce: Uint8Array): number {
  return new DataView(randomNonce.buffer, randomNonce.byteOffset).getUint32(OFFSET_CODE);
}

/** The hint in a random nonce, as one number. In the knocks of other programs it is random, and names no client. */
export function clientHintOf(randomNonce: Uint8Array): number {
  return new DataView(randomNonce.buffer, randomNonce.byteOffset).getUint32(OFFSET_HINT);
}

/**
 * Whether a datagram of the right size bears this server's knock tag, over its stamp and its ephemeral key. It proves
 * only that a holder of a profile of this server made it when both were first used together.
 */
export function bearsTag(datagram: Uint8Array, tags: KnockTags): boolean {
  const tag = tags(stampOf(datagram), ephemeralKeyOf(datagram));
  let difference = 0; // every byte is looked at, so that time does not tell how many were right
  for (let i = 0; i < tag.length; i++) difference |= tag[i]! ^ datagram[OFFSET_TAG + i]!;
  return difference === 0;
}

/** Where openme's own knocks bear their stamp, 4 bytes: a view, not a copy. In the knocks of others it is random. */
export function stampOf(datagram: Uint8Array): Uint8Array {
  return datagram.subarray(OFFSET_AEAD_NONCE, OFFSET_TAG);
}

/** Why a datagram could not be read: the first four drop reasons, in the order of the checks. */
export type UnsealFailure = "size" | "version" | "key_agreement" | "decrypt";

/**
 * Reads a datagram of any length and content with the server's key; never throws, returns the first failed check. The
 * knock is a copy. Believe nothing in it before its signature is checked.
 */
export function unsealKnock(datagram: Uint8Array, agreeWith: KeyAgreement): Knock | UnsealFailure {
  if (datagram.length !== PACKET_SIZE) return "size"; // before anything is read at an offset
  if (datagram[0] !== VERSION) return "version";
  const aeadKey = agreeWith(ephemeralKeyOf(datagram));
  if (!aeadKey) return "key_agreement";
  // The AEAD before the signature: it takes a quarter of the time, and without the server's public key no signature is tried.
  const plaintext = aeadOpen(
    aeadKey,
    datagram.subarray(OFFSET_AEAD_NONCE, OFFSET_SEALED),
    datagram.subarray(OFFSET_SEALED, OFFSET_SIGNATURE),
  );
  if (!plaintext) return "decrypt";
  return decodePlaintext(plaintext);
}

/** A datagram of the right size as 101 bytes and the signature over them, 64 bytes: views, not copies. */
export function splitSignature(datagram: Uint8Array): [signed: Uint8Array, signature: Uint8Array] {
  return [datagram.subarray(0, OFFSET_SIGNATURE), datagram.subarray(OFFSET_SIGNATURE)];
}

/** The ephemeral key of a datagram of the right size, 32 bytes: a view, not a copy. */
export function ephemeralKeyOf(datagram: Uint8Array): Uint8Array {
  return datagram.subarray(OFFSET_EPHEMERAL_KEY, OFFSET_AEAD_NONCE);
}

function encodePlaintext({ timestampNs, randomNonce, target }: Knock): Bytes {
  const plaintext = new Uint8Array(PLAINTEXT_SIZE);
  if (BigInt.asIntN(64, timestampNs) !== timestampNs) {
    throw new RangeError(`"timestampNs" expected an int64`);
  }
  if (randomNonce.length !== RANDOM_NONCE_SIZE) {
    throw new RangeError(
      `"randomNonce" expected ${RANDOM_NONCE_SIZE} bytes, got ${randomNonce.length}`,
    );
  }
  new DataView(plaintext.buffer).setBigInt64(0, timestampNs);
  plaintext.set(randomNonce, TIMESTAMP_SIZE);
  if (target) plaintext.set(addressToBytes16(target), TIMESTAMP_SIZE + RANDOM_NONCE_SIZE);
  return plaintext;
}

function decodePlaintext(plaintext: Bytes): Knock {
  const target = addressFromBytes16(plaintext.subarray(TIMESTAMP_SIZE + RANDOM_NONCE_SIZE));
  return {
    timestampNs: new DataView(plaintext.buffer, plaintext.byteOffset).getBigInt64(0),
    randomNonce: plaintext.slice(TIMESTAMP_SIZE, TIMESTAMP_SIZE + RANDOM_NONCE_SIZE),
    target: isUnspecified(target) ? undefined : target,
  };
}
