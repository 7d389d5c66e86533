/**
 * What waits to be judged, and in which order: docs/protocol.md, "Under load". The socket's buffer holds 277 knocks, so
 * everything is taken off it at once; what is worth the curve arithmetic is decided here, for 4 µs a datagram.
 */

import type { Address } from "./address.ts";
import { AEAD_NONCE_SIZE, KEY_SIZE, type KnockTags } from "./crypto.ts";
import { FairQueue } from "./fair_queue.ts";
import { bearsTag, OFFSET_AEAD_NONCE, PACKET_SIZE, VERSION } from "./packet.ts";

/** A datagram of the right size and version. The bytes are its own unless it is `other`: then they are lent. */
export interface Waiting {
  readonly datagram: Uint8Array;
  readonly source: Address;
  readonly kind: WaitingKind;
}

/**
 * - `tagged`: bears this server's tag, with an ephemeral key that was not seen before;
 * - `repeated`: bears a tag that was seen before: a copy, or the front of a knock that somebody watched with junk behind;
 * - `other`: without a tag: knocks of other clients, and junk.
 */
export type WaitingKind = "tagged" | "repeated" | "other";

const TAGGED_CAPACITY = 4096;
/** A company behind one address that knocks at nine. */
const TAGGED_PER_SOURCE = 1024;
const REPEATED_CAPACITY = 2048;
const REPEATED_PER_KEY_AND_SOURCE = 16;
const OTHER_CAPACITY = 8192;
/** Ephemeral keys that are known to have been used. Strangers cannot add to them: they can make no tag. */
const KEYS_REMEMBERED = 16_384;
/** A repeated one costs a fifth of one that needs the curve: so many are served for each that does. */
const REPEATED_PER_OTHER = 4;

/** The queue between the socket and the gate. Bounded in every part. */
export class KnockQueue {
  #tags: readonly KnockTags[];
  readonly #tagged = new FairQueue<Waiting>({
    capacity: TAGGED_CAPACITY,
    perLane: TAGGED_PER_SOURCE,
  });
  readonly #repeated = new FairQueue<Waiting>({
    capacity: REPEATED_CAPACITY,
    perLane: REPEATED_PER_KEY_AND_SOURCE,
  });
  readonly #others = new Ring(OTHER_CAPACITY);
  readonly #seenTags = new Set<string>();
  readonly #dropped: (reason: "overload", source: Address) => void;
  #repeatedInARow = 0;

  /** `dropped` is told of everything that is pushed out unjudged. */
  constructor(
    tags: KnockTags | readonly KnockTags[],
    dropped: (reason: "overload", source: Address) => void,
  ) {
    this.#tags = [tags].flat();
    this.#dropped = dropped;
  }

  /** Takes a datagram in, or gives the reason why not. The bytes are copied. */
  offer(datagram: Uint8Array, source: Address): "size" | "version" | undefined {
    if (datagram.length !== PACKET_SIZE) return "size";
    if (datagram[0] !== VERSION) return "version";
    if (!this.#tags.some((tags) => bearsTag(datagram, tags))) {
      const given = this.#others.push(datagram, source);
      if (given) this.#dropped("overload", given);
      return undefined;
    }
    const tag = binaryString(datagram, OFFSET_AEAD_NONCE, AEAD_NONCE_SIZE);
    const known = this.#seenTags.has(tag);
    if (!known) this.#remember(tag);
    const block = blockOf(source);
    const given = known
      ? this.#repeated.push(tag + block, { datagram: datagram.slice(), source, kind: "repeated" })
      : this.#tagged.push(block, { datagram: datagram.slice(), source, kind: "tagged" });
    if (given) this.#dropped("overload", given.source);
    return undefined;
  }

  /** Whether something waits of one of these kinds. */
  has(kind: WaitingKind): boolean {
    if (kind === "tagged") return this.#tagged.size > 0;
    return (kind === "repeated" ? this.#repeated : this.#others).size > 0;
  }

  get size(): number {
    return this.#tagged.size + this.#repeated.size + this.#others.size;
  }

  /** The next of this kind; the lent bytes of an `other` are good until the next call of `offer`. */
  take(kind: WaitingKind): Waiting | undefined {
    if (kind === "tagged") return this.#tagged.shift();
    return kind === "repeated" ? this.#repeated.shift() : this.#others.shift();
  }

  /** The next of all: tagged ones first, then repeated and others in turn by what they cost. */
  next(): Waiting | undefined {
    if (this.#tagged.size > 0) return this.#tagged.shift();
    const repeatedsTurn = this.#repeatedInARow < REPEATED_PER_OTHER || this.#others.size === 0;
    if (this.#repeated.size > 0 && repeatedsTurn) {
      this.#repeatedInARow++;
      return this.#repeated.shift();
    }
    this.#repeatedInARow = 0;
    return this.#others.shift();
  }

  /** The server's keys have changed: from now on these are its tags. */
  retag(tags: readonly KnockTags[]): void {
    this.#tags = tags;
  }

  #remember(tag: string): void {
    this.#seenTags.add(tag);
    if (this.#seenTags.size > KEYS_REMEMBERED) {
      this.#seenTags.delete(this.#seenTags.values().next().value!);
    }
  }
}

/** Right-sized datagrams in memory that is allocated once: a flood makes no garbage. The oldest gives way. */
class Ring {
  readonly #bytes: Uint8Array;
  readonly #sources: (Address | undefined)[];
  readonly #capacity: number;
  #first = 0;
  #size = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#bytes = new Uint8Array(capacity * PACKET_SIZE);
    this.#sources = new Array(capacity).fill(undefined);
  }

  get size(): number {
    return this.#size;
  }

  /** Gives the source of what gave way. */
  push(datagram: Uint8Array, source: Address): Address | undefined {
    let given: Address | undefined;
    if (this.#size === this.#capacity) {
      given = this.#sources[this.#first];
      this.#first = (this.#first + 1) % this.#capacity;
      this.#size--;
    }
    const place = (this.#first + this.#size) % this.#capacity;
    this.#bytes.set(datagram, place * PACKET_SIZE);
    this.#sources[place] = source;
    this.#size++;
    return given;
  }

  shift(): Waiting | undefined {
    const source = this.#size > 0 ? this.#sources[this.#first] : undefined;
    if (!source) return undefined;
    const start = this.#first * PACKET_SIZE;
    const datagram = this.#bytes.subarray(start, start + PACKET_SIZE);
    this.#sources[this.#first] = undefined;
    this.#first = (this.#first + 1) % this.#capacity;
    this.#size--;
    return { datagram, source, kind: "other" };
  }
}

/** Who counts as one sender: an IPv4 address, or the /64 that an IPv6 host has to itself. */
function blockOf({ family, bytes }: Address): string {
  return binaryString(bytes, 0, family === 4 ? 4 : 8);
}

function binaryString(bytes: Uint8Array, start: number, size: number): string {
  let text = "";
  for (let i = start; i < start + size; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}

/**
 * X25519 that remembers the secrets of the last peers' keys: a knock's front that is sent again and again costs the
 * curve once. For tagged knocks only, so that strangers cannot fill it.
 */
export function rememberingAgreement(
  agree: (peerPublicKey: Uint8Array) => Uint8Array | undefined,
  remembered: number,
): (peerPublicKey: Uint8Array) => Uint8Array | undefined {
  const secrets = new Map<string, Uint8Array>();
  return (peerPublicKey) => {
    const name = binaryString(peerPublicKey, 0, KEY_SIZE);
    const known = secrets.get(name);
    if (known) return known;
    const secret = agree(peerPublicKey);
    if (!secret) return undefined;
    secrets.set(name, secret);
    if (secrets.size > remembered) secrets.delete(secrets.keys().next().value!);
    return secret;
  };
}
