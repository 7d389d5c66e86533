/**
 * Knocks of deployed clients, without a client hint, whose client was not among the first to be tried: docs/protocol.md,
 * "Whose signature". Each gets a few signatures checked in its turn, and sources take turns: an observer of such a knock
 * or a holder of an old profile can send many.
 */

import type { Address } from "../values/address.ts";
import type { Candidates, ReadDatagram, SignedKnock } from "../gate.ts";
import { bytesToHex } from "../crypto/keys.ts";
import { ephemeralKeyOf } from "../packet.ts";

const MOST = 256;
const MOST_OF_A_SOURCE = 64;

/** A knock that waits for its client to be found, with bytes of its own. */
export interface Deferred extends ReadDatagram {
  /** By which it is judged. */
  readonly candidates: Candidates;
  /** The steps of the search for its signer, of which each tries one key. */
  readonly steps: Iterator<void, SignedKnock | "signature">;
}

/** The knocks whose verification goes on; one at a time under an ephemeral key. */
export class DeferredVerifications {
  readonly #isStale: (deferred: Deferred) => boolean;
  readonly #dropped: (source: Address) => void;
  readonly #inTime = new Turns();
  /** These can open nothing any more. They are searched when no other waits, so that a client hears of its clock. */
  readonly #stale = new Turns();
  readonly #keys = new Set<string>();

  /** `dropped` is told the source of each knock that is given up. */
  constructor(
    { isStale, dropped }: {
      isStale: (deferred: Deferred) => boolean;
      dropped: (source: Address) => void;
    },
  ) {
    this.#isStale = isStale;
    this.#dropped = dropped;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** Adds a knock, behind the others of its source. Where there is no room, it or another one is dropped. */
  add(deferred: Deferred): void {
    const name = bytesToHex(ephemeralKeyOf(deferred.datagram));
    if (this.#keys.has(name)) return this.#dropped(deferred.source);
    this.#keys.add(name);
    const queue = this.#isStale(deferred) ? this.#stale : this.#inTime;
    const given = queue.push(deferred);
    if (!given) return;
    this.#keys.delete(bytesToHex(ephemeralKeyOf(given.datagram)));
    this.#dropped(given.source);
  }

  /** Takes out the knock whose turn it is; {@linkcode add} lets it wait for its next turn. */
  take(): Deferred | undefined {
    for (let next = this.#inTime.shift(); next; next = this.#inTime.shift()) {
      this.#keys.delete(bytesToHex(ephemeralKeyOf(next.datagram)));
      if (!this.#isStale(next)) return next;
      this.add(next);
    }
    const stale = this.#stale.shift();
    if (stale) this.#keys.delete(bytesToHex(ephemeralKeyOf(stale.datagram)));
    return stale;
  }
}

/** Knocks by source. Each turn is that of another source, which waits behind its own knocks and delays no other. */
class Turns {
  /** In the order of their turns. */
  readonly #sources = new Map<string, Deferred[]>();
  #size = 0;

  /** Returns the knock that is given up: this one if its source has too many, else one of the source with most. */
  push(deferred: Deferred): Deferred | undefined {
    const source = blockOf(deferred.source);
    const own = this.#sources.get(source) ?? [];
    if (own.length >= MOST_OF_A_SOURCE) return deferred;
    let given: Deferred | undefined;
    if (this.#size < MOST) this.#size++;
    else {
      const most = [...this.#sources.values()].reduce((a, b) => b.length > a.length ? b : a);
      if (most.length === 1) return deferred; // a source with a single knock keeps its place
      given = most.pop();
    }
    own.push(deferred);
    this.#sources.set(source, own);
    return given;
  }

  /** Takes out the oldest knock of the next source. */
  shift(): Deferred | undefined {
    for (const [source, knocks] of this.#sources) {
      this.#sources.delete(source);
      const knock = knocks.shift();
      if (knocks.length > 0) this.#sources.set(source, knocks); // behind all the others
      this.#size--;
      return knock;
    }
    return undefined;
  }
}

/** The name of one sender: an IPv4 address, or the /64 that an IPv6 host has to itself. */
function blockOf({ family, bytes }: Address): string {
  return String.fromCharCode(...bytes.subarray(0, family === 4 ? 4 : 8));
}
