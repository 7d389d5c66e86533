/**
 * The replay memory: which knocks of a client were seen. docs/protocol.md, "Replay".
 *
 * A nonce belongs to the client whose signature was good. It is kept while its knock could still be accepted. It is kept
 * for a day longer if the client's quota has room: then a clock that jumps ahead and comes back makes no old knock new.
 * Forgetting raises the client's watermark: at or below that timestamp every knock counts as seen. No nonce is forgotten
 * to make room while its knock could be replayed: a client that fills its quota is refused.
 */

import { bytesToHex } from "./crypto/keys.ts";

/** How many nonces one client may have in memory: a knock every 2 s for the widest window there is (1 h, both ways). */
export const NONCES_PER_CLIENT = 4096;

/** How long a nonce is kept after its knock has become too old: a day, in ns. */
export const KEEP_AFTER_WINDOW_NS = 86_400_000_000_000n;

/** 2020-01-01: a knock dated earlier, when there was no openme, comes from a machine that does not know the time. */
const FIRST_KNOCK_NS = 1_577_836_800_000_000_000n;

/** `fresh`: not seen before, remembered now. `replay`: seen. `limit`: not seen, but there is no room to remember it. */
export type Remembered = "fresh" | "replay" | "limit";

/** What is known of one client. */
interface ClientMemory {
  readonly seen: SeenNonces;
  watermarkNs: bigint | undefined;
}

/** A bounded memory of knocks by client. A client is named by its public key: a renamed client stays the same. */
export class ReplayMemory {
  readonly #clients = new Map<string, ClientMemory>();
  readonly #quota: number;
  /** Clients whose watermark has risen since it was last asked for. */
  #risen = new Set<string>();
  #floorNs: bigint | undefined;
  #beganNs: bigint | undefined;

  /** `quota`: nonces a client. */
  constructor({ quota = NONCES_PER_CLIENT }: { quota?: number } = {}) {
    this.#quota = quota;
  }

  /** Checks and remembers in one step. The knock must be authentic and inside the window. Times in ns since 1970. */
  checkAndRemember(
    key: string,
    randomNonce: Uint8Array,
    timestampNs: bigint,
    { nowNs, replayWindowNs }: { nowNs: bigint; replayWindowNs: bigint },
  ): Remembered {
    if (isCovered(this.#floorNs, timestampNs)) return "replay";
    const beganNs = this.#beganNs;
    if (beganNs !== undefined && timestampNs <= beganNs && beganNs <= nowNs) return "replay";
    const client = this.#clientOf(key);
    if (isCovered(client.watermarkNs, timestampNs)) return "replay";
    if (client.seen.has(randomNonce)) return "replay";
    if (client.seen.size >= this.#quota) {
      const oldestNs = client.seen.oldestNs!;
      if (nowNs - oldestNs <= replayWindowNs) {
        // Not remembered, so it must not be accepted later either: the watermark takes no room.
        this.#raise(key, client, timestampNs);
        return "limit";
      }
      this.#forgetThrough(key, client, oldestNs);
    }
    client.seen.add(randomNonce, timestampNs);
    return "fresh";
  }

  /** Whether a knock of this client was seen, or counts as seen. Changes nothing. */
  has(key: string, randomNonce: Uint8Array, timestampNs: bigint): boolean {
    if (timestampNs < FIRST_KNOCK_NS) return false;
    if (isCovered(this.#floorNs, timestampNs)) return true;
    const client = this.#clients.get(key);
    if (!client) return false;
    return isCovered(client.watermarkNs, timestampNs) || client.seen.has(randomNonce);
  }

  /** Forgets what has been useless for a day. */
  prune({ nowNs, replayWindowNs }: { nowNs: bigint; replayWindowNs: bigint }): void {
    const forgetNs = nowNs - replayWindowNs - KEEP_AFTER_WINDOW_NS;
    for (const [key, client] of this.#clients) {
      const lastNs = client.seen.newestBefore(forgetNs); // looks no further than the oldest that stays
      if (lastNs !== undefined) this.#forgetThrough(key, client, lastNs);
    }
  }

  /** The newest forgotten timestamp of a client, if anything of it was forgotten. */
  watermarkOf(key: string): bigint | undefined {
    return this.#clients.get(key)?.watermarkNs;
  }

  /** The clients whose watermark has risen since the last call, for writing it down. */
  takeRisen(): Iterable<string> {
    const risen = this.#risen;
    if (risen.size > 0) this.#risen = new Set();
    return risen;
  }

  /** From now on every knock of any client dated at or before `timestampNs` counts as seen. */
  raiseFloor(timestampNs: bigint): void {
    if (this.#floorNs === undefined || timestampNs > this.#floorNs) this.#floorNs = timestampNs;
  }

  /**
   * The start of this memory. Knocks dated at or before it are refused, since an earlier memory may have been deleted;
   * but {@linkcode has} does not report them as seen, since on a new server none was. If the clock is set back behind
   * that time, the time was wrong, and no knock is refused by it.
   */
  begin(timestampNs: bigint): void {
    this.#beganNs = timestampNs;
  }

  /** What {@linkcode begin} said, if it did. */
  get beganNs(): bigint | undefined {
    return this.#beganNs;
  }

  /** Puts back a client's watermark as it was stored. */
  restoreWatermark(key: string, watermarkNs: bigint): void {
    const client = this.#clientOf(key);
    if (!isCovered(client.watermarkNs, watermarkNs)) client.watermarkNs = watermarkNs;
  }

  /** Puts back a nonce as it was stored. The quota does not count here: what is stored must not be forgotten. */
  restore(key: string, randomNonce: Uint8Array, timestampNs: bigint): void {
    const client = this.#clientOf(key);
    if (!client.seen.has(randomNonce)) client.seen.add(randomNonce, timestampNs);
  }

  /** Everything remembered, for writing it down again: `[key, nonce in hex, timestamp]`. */
  *entries(): Generator<[key: string, nonce: string, timestampNs: bigint]> {
    for (const [key, { seen }] of this.#clients) {
      for (const [nonce, timestampNs] of seen.entries()) yield [key, nonce, timestampNs];
    }
  }

  /** Every client's watermark. */
  *watermarks(): Generator<[key: string, watermarkNs: bigint]> {
    for (const [key, { watermarkNs }] of this.#clients) {
      if (watermarkNs !== undefined) yield [key, watermarkNs];
    }
  }

  /** The floor that {@linkcode raiseFloor} set, if any. */
  get floorNs(): bigint | undefined {
    return this.#floorNs;
  }

  #clientOf(key: string): ClientMemory {
    let client = this.#clients.get(key);
    if (!client) {
      this.#clients.set(key, client = { seen: new SeenNonces(), watermarkNs: undefined });
    }
    return client;
  }

  /** Forgets every nonce of a client dated at or before the given time. */
  #forgetThrough(key: string, client: ClientMemory, timestampNs: bigint): void {
    client.seen.forgetThrough(timestampNs);
    this.#raise(key, client, timestampNs);
  }

  /** Raises a client's watermark, unless it is as high. */
  #raise(key: string, client: ClientMemory, timestampNs: bigint): void {
    if (isCovered(client.watermarkNs, timestampNs)) return;
    client.watermarkNs = timestampNs;
    this.#risen.add(key);
  }
}

/** Whether a time is at or below a floor or watermark. */
function isCovered(throughNs: bigint | undefined, timestampNs: bigint): boolean {
  return throughNs !== undefined && timestampNs <= throughNs;
}

const SMALLEST_CAPACITY = 4;

/**
 * The nonces of one client with the timestamps of their knocks in ns since 1970, the oldest first. Some 90 bytes each:
 * there may be a million of all clients together.
 */
export class SeenNonces {
  /** A character a byte: half of what hex digits take. */
  #names: string[] = [];
  /** As many as there are names, and room for more. */
  #times = new BigInt64Array(SMALLEST_CAPACITY);
  readonly #known = new Set<string>();

  get size(): number {
    return this.#names.length;
  }

  /** The oldest timestamp, if there is any. */
  get oldestNs(): bigint | undefined {
    return this.size === 0 ? undefined : this.#times[0];
  }

  has(nonce: Uint8Array): boolean {
    return this.#known.has(nameOf(nonce));
  }

  /** Adds a nonce that is not there yet. */
  add(nonce: Uint8Array, timestampNs: bigint): void {
    const name = nameOf(nonce);
    const { size } = this;
    if (size === this.#times.length) {
      const larger = new BigInt64Array(size * 2);
      larger.set(this.#times);
      this.#times = larger;
    }
    // Knocks come nearly in the order of their timestamps, so the place is nearly always the end.
    let place = size;
    while (place > 0 && this.#times[place - 1]! > timestampNs) place--;
    if (place < size) {
      this.#times.copyWithin(place + 1, place, size);
      this.#names.splice(place, 0, name);
    } else this.#names.push(name);
    this.#times[place] = timestampNs;
    this.#known.add(name);
  }

  /** Forgets every nonce dated at or before the given time. */
  forgetThrough(timestampNs: bigint): void {
    const { size } = this;
    let count = 0;
    while (count < size && this.#times[count]! <= timestampNs) count++;
    if (count === 0) return;
    for (const name of this.#names.splice(0, count)) this.#known.delete(name);
    this.#times.copyWithin(0, count, size);
    if (this.size < this.#times.length / 4) {
      this.#times = this.#times.slice(0, Math.max(SMALLEST_CAPACITY, this.size));
    }
  }

  /** The newest timestamp before the given time, if there is any. */
  newestBefore(timestampNs: bigint): bigint | undefined {
    let newest: bigint | undefined;
    for (let i = 0; i < this.size && this.#times[i]! < timestampNs; i++) newest = this.#times[i];
    return newest;
  }

  /** All of them: `[nonce in hex, timestamp]`. */
  *entries(): Generator<[nonce: string, timestampNs: bigint]> {
    for (const [i, name] of this.#names.entries()) {
      yield [bytesToHex(Uint8Array.from(name, (char) => char.charCodeAt(0))), this.#times[i]!];
    }
  }
}

function nameOf(nonce: Uint8Array): string {
  return String.fromCharCode(...nonce);
}
