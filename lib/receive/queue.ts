/**
 * Which datagrams wait to be judged, and in which order: docs/protocol.md, "Under load". The socket's buffer holds 277
 * knocks, so all are taken off it at once; which are worth the curve arithmetic is decided here, for 4 µs a datagram.
 */

import type { Address } from "../values/address.ts";
import type { KnockTags } from "../crypto/keys.ts";
import { FairQueue } from "./fair_queue.ts";
import { type EphemeralKeys, keyName } from "./ephemeral_keys.ts";
import { bearsTag, ephemeralKeyOf, PACKET_SIZE, VERSION } from "../packet.ts";

/** A queued datagram of the right size and version. The bytes of `other` and `late` are lent, until the next `offer`. */
export interface Queued {
  readonly datagram: Uint8Array;
  readonly source: Address;
  readonly kind: QueuedKind;
  /** Whether it bears this server's tag. */
  readonly tagged: boolean;
}

/**
 * - `tagged`: bears this server's tag, with an ephemeral key that was not seen before;
 * - `repeated`: under an ephemeral key that is known: a copy, or the front of a watched knock with junk behind it;
 * - `late`: the same, beyond what such may cost: judged when there is nothing else to do;
 * - `other`: neither: knocks of other clients, and junk.
 */
export type QueuedKind = "tagged" | "repeated" | "late" | "other";

const TAGGED_CAPACITY = 4096;
/** Enough for a company behind one address that knocks at nine. */
const TAGGED_PER_SOURCE = 1024;
const REPEATED_CAPACITY = 2048;
const REPEATED_PER_KEY = 1024;
/** What 750 ms of judging can work off. */
const OTHER_CAPACITY = 8192;
/** 130 ms of copies: as many as may run ahead of the genuine knock, which must still be there at its turn. */
const LATE_CAPACITY = 8192;
/** After so many tagged knocks another one has a turn: a removed client can still make tags, and must not take all turns. */
const TAGGED_IN_A_ROW = 4;

/** What a queue works with. */
export interface KnockQueueParts {
  /** Those of the server's key, and of the one before it. */
  readonly tags: readonly KnockTags[];
  readonly keys: EphemeralKeys;
  readonly steadyMs: () => number;
  /** Told of each datagram that is given up without a verdict. */
  readonly dropped: (reason: "overload", source: Address) => void;
}

/** The queue between the socket and the gate. Bounded in every part. */
export class KnockQueue {
  #tags: readonly KnockTags[];
  readonly #keys: EphemeralKeys;
  readonly #steadyMs: () => number;
  readonly #dropped: (reason: "overload", source: Address) => void;
  readonly #tagged = new FairQueue<Queued>({
    capacity: TAGGED_CAPACITY,
    perLane: TAGGED_PER_SOURCE,
  });
  readonly #repeated = new FairQueue<Queued>({
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

  /** Queues a datagram, or returns why not. The bytes are copied. */
  offer(datagram: Uint8Array, source: Address): "size" | "version" | undefined {
    if (datagram.length !== PACKET_SIZE) return "size";
    if (datagram[0] !== VERSION) return "version";
    const key = ephemeralKeyOf(datagram);
    const tagged = this.#tags.some((tags) => bearsTag(datagram, tags));
    const known = tagged ? this.#keys.note(key) : this.#keys.has(key);
    let given: Address | undefined;
    if (!known && !tagged) given = this.#others.push(datagram, source, tagged);
    else if (!known) {
      const waiting: Queued = { datagram: datagram.slice(), source, kind: "tagged", tagged };
      given = this.#tagged.push(blockOf(source), waiting)?.source;
    } else {
      const admitted = this.#keys.admits(key, this.#steadyMs());
      if (admitted === "never") given = source;
      else if (admitted === "late") given = this.#late.push(datagram, source, tagged);
      else {
        const waiting: Queued = { datagram: datagram.slice(), source, kind: "repeated", tagged };
        given = this.#repeated.push(keyName(key), waiting)?.source;
      }
    }
    if (given) this.#dropped("overload", given);
    return undefined;
  }

  get size(): number {
    return this.#tagged.size + this.#repeated.size + this.#others.size + this.#late.size;
  }

  /** The next of all but the late ones: tagged first, but one of the rest after a few of them. */
  next(): Queued | undefined {
    if (this.#taggedInARow < TAGGED_IN_A_ROW) {
      const tagged = this.takeTagged();
      if (tagged) return tagged;
    }
    return this.takeRest() ?? this.takeTagged();
  }

  /** The next tagged one. */
  takeTagged(): Queued | undefined {
    this.#taggedInARow++;
    return this.#tagged.shift();
  }

  /** The next of the repeated and the others, in turn: they cost about the same. */
  takeRest(): Queued | undefined {
    this.#taggedInARow = 0;
    this.#repeatedsTurn = !this.#repeatedsTurn;
    const repeated = this.#repeatedsTurn || this.#others.size === 0
      ? this.#repeated.shift()
      : undefined;
    return repeated ?? this.#others.shift() ?? this.#repeated.shift();
  }

  /** The next late one: for when nothing else waits. */
  takeLate(): Queued | undefined {
    return this.#late.shift();
  }

  /** From now on these are the server's tags: its keys have changed. */
  retag(tags: readonly KnockTags[]): void {
    this.#tags = tags;
  }
}

/** Datagrams in memory that is allocated once: a flood makes no garbage. A full ring drops its oldest. */
class Ring {
  readonly #bytes: Uint8Array;
  readonly #sources: (Address | undefined)[];
  readonly #tagged: Uint8Array;
  readonly #kind: QueuedKind;
  readonly #capacity: number;
  #first = 0;
  #size = 0;

  constructor(kind: QueuedKind, capacity: number) {
    this.#kind = kind;
    this.#capacity = capacity;
    this.#tagged = new Uint8Array(capacity);
    this.#bytes = new Uint8Array(capacity * PACKET_SIZE);
    this.#sources = new Array(capacity).fill(undefined);
  }

  get size(): number {
    return this.#size;
  }

  /** Returns the source of the datagram that gave way, if any. */
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

  shift(): Queued | undefined {
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

/** The name of one sender: an IPv4 address, or the /64 that an IPv6 host has to itself. */
export function blockOf({ family, bytes }: Address): string {
  return binaryString(bytes, 0, family === 4 ? 4 : 8);
}

function binaryString(bytes: Uint8Array, start: number, size: number): string {
  let text = "";
  for (let i = start; i < start + size; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}

/**
 * X25519 that remembers the secrets of the last peers' keys: copies of a knock cost the curve once. For tagged and
 * repeated knocks only, so that strangers cannot fill it.
 */
export function rememberingAgreement(
  agree: (peerPublicKey: Uint8Array) => Uint8Array | undefined,
  remembered: number,
): (peerPublicKey: Uint8Array) => Uint8Array | undefined {
  const secrets = new Map<string, Uint8Array>();
  return (peerPublicKey) => {
    const name = keyName(peerPublicKey);
    const known = secrets.get(name);
    if (known) return known;
    const secret = agree(peerPublicKey);
    if (!secret) return undefined;
    secrets.set(name, secret);
    if (secrets.size > remembered) secrets.delete(secrets.keys().next().value!);
    return secret;
  };
}
