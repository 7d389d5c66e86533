/**
 * Which ephemeral keys were used before, and how much each may still cost. A knock's ephemeral key is its own: a datagram
 * under a known one is a copy, or the front of a watched knock with junk behind it. docs/protocol.md, "Under load".
 * Holds only keys of knocks that were tagged or sealed to this server, so strangers cannot fill it.
 */

import { KEY_SIZE } from "../crypto/keys.ts";
import { TokenBucket } from "../values/token_bucket.ts";

/** Fingerprints of known keys: a million, 4 MB. Where two meet in one slot, the older is forgotten. */
const SLOTS = 1 << 20;

/**
 * How many copies are judged under one known key while other keys wait. A copy that does not unseal takes 16 µs, so this
 * is a sixth of a processor; the capacity is what can arrive before a genuine knock in 100 ms.
 */
const COPIES = { perSecond: 10_000, capacity: 1024 };
/** A signature that has to be checked takes as long as so many copies. */
const SIGNATURE_COPIES = 3;
/** The same for a key whose knock was judged to its end: no further knock under it can be accepted. */
const SPENT_COPIES = { perSecond: 1, capacity: 4 };
/** Keys whose copies are counted; the longest unused is forgotten first. */
const COUNTED = 4096;

/** The memory of ephemeral keys. Keys are 32 bytes; the bit that X25519 ignores (RFC 7748 section 5) is ignored. */
export class EphemeralKeys {
  readonly #slots = new Uint32Array(SLOTS);
  readonly #copies = new Map<string, TokenBucket>();
  /** The buckets of spent keys. */
  readonly #spent = new WeakSet<TokenBucket>();

  /** Whether this key was noted before. */
  has(key: Uint8Array): boolean {
    return this.#slots[slotOf(key)] === fingerprintOf(key);
  }

  /** Notes a key; returns whether it was known. */
  note(key: Uint8Array): boolean {
    const known = this.has(key);
    this.#slots[slotOf(key)] = fingerprintOf(key);
    return known;
  }

  /**
   * Whether another datagram under this known key is worth judging at this time of the steady clock: now; late, when
   * there is nothing else to do; or never, since nothing under it is let in any more.
   */
  admits(key: Uint8Array, nowMs: number): "now" | "late" | "never" {
    const name = keyName(key);
    let copies = this.#copies.get(name);
    this.#copies.delete(name);
    this.#copies.set(name, copies ??= new TokenBucket(COPIES));
    this.#prune();
    if (copies.take(1, nowMs) > 0) return "now";
    return this.#spent.has(copies) ? "never" : "late";
  }

  /** So many signatures were checked under this key, and none was good: its next copies pay for that. */
  charge(key: Uint8Array, signatures: number): void {
    this.#copies.get(keyName(key))?.charge(signatures * SIGNATURE_COPIES);
  }

  /** The knock under this key was judged to its end: its signature was good. Its replays come here too. */
  spend(key: Uint8Array): void {
    this.note(key);
    const name = keyName(key);
    const before = this.#copies.get(name);
    // A replay must not pay for the next one.
    if (before && this.#spent.has(before)) return;
    const copies = new TokenBucket(SPENT_COPIES);
    this.#spent.add(copies);
    this.#copies.set(name, copies);
    this.#prune();
  }

  #prune(): void {
    if (this.#copies.size > COUNTED) this.#copies.delete(this.#copies.keys().next().value!);
  }
}

function slotOf(key: Uint8Array): number {
  return (key[0]! | key[1]! << 8 | key[2]! << 16) & (SLOTS - 1);
}

/** Never 0, which is an empty slot. */
function fingerprintOf(key: Uint8Array): number {
  return (key[3]! | key[4]! << 8 | key[5]! << 16 | key[6]! << 24) >>> 0 || 1;
}

/** The key as a name, without the bit that X25519 ignores. */
export function keyName(key: Uint8Array): string {
  let name = "";
  for (let i = 0; i < KEY_SIZE - 1; i++) name += String.fromCharCode(key[i]!);
  return name + String.fromCharCode(key[KEY_SIZE - 1]! & 0x7f);
}
