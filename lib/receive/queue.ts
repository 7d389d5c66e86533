/**
 * What waits to be judged, and in which order: docs/protocol.md, "Under load". The socket's buffer holds 277 knocks, so
 * everything is taken off it at once; what is worth the curve arithmetic is decided here, for 4 µs a datagram.
 */

import type { Address } from "../values/address.ts";
import type { KnockTags } from "../crypto/keys.ts";
import { FairQueue } from "./fair_queue.ts";
import { type KnownKeys, nameOf } from "./ephemeral_keys.ts";
import { bearsTag, ephemeralKeyOf, PACKET_SIZE, VERSION } from "../packet.ts";

/** A datagram of the right size and version. The bytes are its own unless it is `other` or `late`: then they are lent. */
export interface Waiting {
  readonly datagram: Uint8Array;
  readonly source: Address;
  readonly kind: WaitingKind;
  /** Whether it bears this server's tag. */
  readonly tagged: boolean;
}

/**
 * - `tagged`: bears this server's tag, with an ephemeral key that was not seen before;
 * - `repeated`: under an ephemeral key that is known: a copy, or the front of a watched knock with junk behind it;
 * - `late`: the same, beyond what such may cost: judged when there is nothing else to do;
 * - `other`: neither: knocks of other clients, and junk.
 */
export type WaitingKind = "tagged" | "repeated" | "late" | "other";

const TAGGED_CAPACITY = 4096;
/** A company behind one address that knocks at nine. */
const TAGGED_PER_SOURCE = 1024;
const REPEATED_CAPACITY = 2048;
const REPEATED_PER_KEY = 1024;
/** Junk that came in while the server did something else, or while it is being judged: 750 ms of that. */
const OTHER_CAPACITY = 8192;
/** Copies run ahead of a genuine knock, which must be in it when its turn comes: 130 ms of them. */
const LATE_CAPACITY = 8192;
/** Whoever can make tags, a client that was removed say, must leave a tenth of the time to those who cannot. */
const TAGGED_IN_A_ROW = 4;

/** What a queue works with. */
export interface KnockQueueParts {
  /** Those of the server's key, and of the one before it. */
  readonly tags: readonly KnockTags[];
  readonly keys: KnownKeys;
  readonly steadyMs: () => number;
  /** Told of everything that is given up unjudged. */
  readonly dropped: (reason: "overload", source: Address) => void;
}

/** The queue between the socket and the gate. Bounded in every part. */
export class KnockQueue {
  #tags: readonly KnockTags[];
  readonly #keys: KnownKeys;
  readonly #steadyMs: () => number;
  readonly #dropped: (reason: "overload", source: Address) => void;
  readonly #tagged = new FairQueue<Waiting>({
    capacity: TAGGED_CAPACITY,
    perLane: TAGGED_PER_SOURCE,
  });
  readonly #repeated = new FairQueue<Waiting>({
    capacity: REPEATED_CAPACITY,
    perLane: REPEATED_PER_KEY,
  });
  readonly #others = new Ring("other", OTHER_CAPACITY);
  readonly #late = new Ring("late", LATE_CAPACITY);
  #taggedInARow = 0;
  #repeatedsTurn = false;

  constructor({ tags, keys, steadyMs, dropped }: KnockQueueParts) {
    this.#tags = tags;
    this.#keys = keys;
    this.#steadyMs = steadyMs;
    this.#dropped = dropped;
  }

  /** Takes a datagram in, or gives the reason why not. The bytes are copied. */
  offer(datagram: Uint8Array, source: Address): "size" | "version" | undefined {
    if (datagram.length !== PACKET_SIZE) return "size";
    if (datagram[0] !== VERSION) return "version";
    const key = ephemeralKeyOf(datagram);
    const tagged = this.#tags.some((tags) => bearsTag(datagram, tags));
    const known = tagged ? this.#keys.note(key) : this.#keys.has(key);
    let given: Address | undefined;
    if (!known && !tagged) given = this.#others.push(datagram, source, tagged);
    else if (!known) {
      const waiting: Waiting = { datagram: datagram.slice(), source, kind: "tagged", tagged };
      given = this.#tagged.push(blockOf(source), waiting)?.source;
    } else {
      const admitted = this.#keys.admits(key, this.#steadyMs());
      if (admitted === "never") given = source;
      else if (admitted === "late") given = this.#late.push(datagram, source, tagged);
      else {
        const waiting: Waiting = { datagram: datagram.slice(), source, kind: "repeated", tagged };
        given = this.#repeated.push(nameOf(key), waiting)?.source;
      }
    }
    if (given) this.#dropped("overload", given);
    return undefined;
  }

  get size(): number {
    return this.#tagged.size + this.#repeated.size + this.#others.size + this.#late.size;
  }

  /**
   * The next of all that should not wait: tagged ones first, but one of the rest after a few of them. Lent bytes are good
   * until the next call of `offer`.
   */
  next(): Waiting | undefined {
    if (this.#taggedInARow < TAGGED_IN_A_ROW) {
      const tagged = this.takeTagged();
      if (tagged) return tagged;
    }
    return this.takeRest() ?? this.takeTagged();
  }

  /** The next tagged one. */
  takeTagged(): Waiting | undefined {
    this.#taggedInARow++;
    return this.#tagged.shift();
  }

  /** The next of the others, repeated and not in turn: they cost about the same. */
  takeRest(): Waiting | undefined {
    this.#taggedInARow = 0;
    this.#repeatedsTurn = !this.#repeatedsTurn;
    const repeated = this.#repeatedsTurn || this.#others.size === 0
      ? this.#repeated.shift()
      : undefined;
    return repeated ?? this.#others.shift() ?? this.#repeated.shift();
  }

  /** The next of those for which there is time when nobody else waits. */
  takeLate(): Waiting | undefined {
    return this.#late.shift();
  }

  /** The server's keys have changed: from now on these are its tags. */
  retag(tags: readonly KnockTags[]): void {
    this.#tags = tags;
  }
}

/** Right-sized datagrams in memory that is allocated once: a flood makes no garbage. The oldest gives way. */
class Ring {
  readonly #bytes: Uint8Array;
  readonly #sources: (Address | undefined)[];
  readonly #tagged: Uint8Array;
  readonly #kind: WaitingKind;
  readonly #capacity: number;
  #first = 0;
  #size = 0;

  constructor(kind: WaitingKind, capacity: number) {
    this.#kind = kind;
    this.#capacity = capacity;
    this.#tagged = new Uint8Array(capacity);
    this.#bytes = new Uint8Array(capacity * PACKET_SIZE);
    this.#sources = new Array(capacity).fill(undefined);
  }

  get size(): number {
    return this.#size;
  }

  /** Gives the source of what gave way. */
  push(datagram: Uint8Array, source: Address, tagged: boolean): Address | undefined {
    let given: Address | undefined;
    if (this.#size === this.#capacity) {
      given = this.#sources[this.#first];
      this.#first = (this.#first + 1) % this.#capacity;
      this.#size--;
    }
    const place = (this.#first + this.#size) % this.#capacity;
    this.#bytes.set(datagram, place * PACKET_SIZE);
    this.#sources[place] = source;
    this.#tagged[place] = tagged ? 1 : 0;
    this.#size++;
    return given;
  }

  shift(): Waiting | undefined {
    const source = this.#size > 0 ? this.#sources[this.#first] : undefined;
    if (!source) return undefined;
    const start = this.#first * PACKET_SIZE;
    const datagram = this.#bytes.subarray(start, start + PACKET_SIZE);
    const tagged = this.#tagged[this.#first] === 1;
    this.#sources[this.#first] = undefined;
    this.#first = (this.#first + 1) % this.#capacity;
    this.#size--;
    return { datagram, source, kind: this.#kind, tagged };
  }
}

/** Who counts as one sender: an IPv4 address, or the /64 that an IPv6 host has to itself. */
export function blockOf({ family, bytes }: Address): string {
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
    const name = nameOf(peerPublicKey);
    const known = secrets.get(name);
    if (known) return known;
    const secret = agree(peerPublicKey);
    if (!secret) return undefined;
    secrets.set(name, secret);
    if (secrets.size > remembered) secrets.delete(secrets.keys().next().value!);
    return secret;
  };
}
