/**
 * Which datagrams are worth judging: docs/protocol.md, "Under load". Each is looked at for 5 µs when it is received; there
 * is no queue but the kernel's, so what is judged is bounded by the time that it may take.
 */

import type { ServerConfig } from "../config/server.ts";
import type { KnockTags } from "../crypto/keys.ts";
import { knockTags, publicKeyOf } from "../crypto/sync.ts";
import { bearsTag, ephemeralKeyOf, PACKET_SIZE, VERSION } from "../packet.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { EphemeralKeys, KnownKey } from "./ephemeral_keys.ts";
import type { CurrentStamps } from "./stamps.ts";

/**
 * ms that judging may take in a second, and at once (200 knocks of 2 ms), for three kinds of datagrams:
 * - a right tag and a stamp of now on a new ephemeral key, as openme's own clients send. The holder of an old profile can
 *   make them too, and then takes this time, but no other;
 * - under a known ephemeral key: copies, which an observer of knocks can make. They get what the first leave. A genuine
 *   knock is among them where a copy of it was faster;
 * - all others: clients without tags, clients whose clock is off, and strangers. Where no firewall knows stamps, they get
 *   what receiving leaves: that costs LOOK_MS for each datagram.
 */
const JUDGING = { perSecond: 750, capacity: 100 };
const LEFT_BY_COPIES_MS = 85;
const OTHERS = { perSecond: 850, capacity: 50 };
const LOOK_MS = 0.008;
/** Judging one takes a fifth of that. Where it took longer, another program had the processor, or the disk stalled. */
const MOST_MS = 0.5;

/** A datagram that is to be judged. */
export interface Admitted {
  /** Whether it bears this server's tag. */
  readonly tagged: boolean;
  /** Its ephemeral key, where that is known. */
  readonly key: KnownKey | undefined;
  /** Whether it takes the time of `others`. */
  readonly isOther: boolean;
}

/**
 * Why a datagram is not judged. `tag`: it bears a stamp of now, and a wrong tag. `unstamped`: it bears no right tag, and
 * the configuration says that only such knocks come. `overload`: judging it would take more time than its kind has.
 */
export type NotAdmitted = "size" | "version" | "tag" | "unstamped" | "overload";

/** What it takes of a configuration. */
export type AdmissionConfig = Pick<
  ServerConfig,
  "publicKey" | "previousPrivateKey" | "onlyStampedKnocks"
>;

/** Decides about each datagram, with the keys of one configuration after the other. */
export class Admission {
  readonly #stamps: Pick<CurrentStamps, "has">;
  readonly #keys: EphemeralKeys;
  readonly #judging = new TokenBucket(JUDGING);
  readonly #others = new TokenBucket(OTHERS);
  #tags: readonly KnockTags[] = [];
  #onlyStamped = false;

  constructor(
    config: AdmissionConfig,
    { stamps, keys }: {
      readonly stamps: Pick<CurrentStamps, "has">;
      readonly keys: EphemeralKeys;
    },
  ) {
    this.#stamps = stamps;
    this.#keys = keys;
    this.reconfigure(config);
  }

  /** From now on these keys count: the server's, and the one before it while a rotation is under way. */
  reconfigure({ publicKey, previousPrivateKey, onlyStampedKnocks }: AdmissionConfig): void {
    const previous = previousPrivateKey ? [publicKeyOf("X25519", previousPrivateKey)] : [];
    this.#tags = [publicKey, ...previous].map(knockTags);
    this.#onlyStamped = onlyStampedKnocks;
  }

  /** Looks at a datagram of any size, at a time of the steady clock. */
  admit(datagram: Uint8Array, steadyMs: number): Admitted | NotAdmitted {
    this.#others.charge(LOOK_MS);
    const left = { judging: this.#judging.left(steadyMs), others: this.#others.left(steadyMs) };
    if (datagram.length !== PACKET_SIZE) return "size";
    if (datagram[0] !== VERSION) return "version";
    const tagged = this.#tags.some((tags) => bearsTag(datagram, tags));
    const stamped = this.#stamps.has(datagram);
    if (!tagged && stamped) return "tag";
    if (!tagged && this.#onlyStamped) return "unstamped";
    const ephemeralKey = ephemeralKeyOf(datagram);
    const known = this.#keys.get(ephemeralKey);
    const isOther = !known && !(tagged && stamped);
    const hasTime = known
      ? left.judging > LEFT_BY_COPIES_MS && known.admit()
      : (isOther ? left.others : left.judging) > 0;
    if (!hasTime) return "overload";
    const key = known ?? (tagged ? this.#keys.note(ephemeralKey) : undefined);
    return { tagged, key, isOther };
  }

  /** Judging a datagram has taken so long. A slow machine judges fewer, and receives as many. */
  took({ isOther }: Admitted, ms: number): void {
    (isOther ? this.#others : this.#judging).charge(Math.min(ms, MOST_MS));
  }
}
