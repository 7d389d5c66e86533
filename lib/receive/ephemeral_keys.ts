/**
 * The ephemeral keys of knocks that were tagged, or sealed to this server. For an observer's copies: a datagram under a
 * known key is a copy of a watched knock, or its front with junk behind it. Strangers cannot fill this memory.
 * docs/protocol.md, "Under load".
 */

import { bytesToHex, type KeyAgreement } from "../crypto/keys.ts";

/** The first that was noted is forgotten first: those of 50 knocks a second while their stamps are good. */
const MOST_KEYS = 8192;
/** Datagrams that are judged under a key whose knock was accepted or refused: they are replays. */
const REPLAYS = 4;

/** One ephemeral key. */
export class KnownKey {
  #left = Infinity;
  readonly #aeadKeys = new Map<KeyAgreement, Uint8Array>();

  /** Counts one more datagram under this key; returns whether it is worth judging. */
  admit(): boolean {
    return this.#left-- > 0;
  }

  /** The knock under this key was judged to its end: no further one under it can be accepted. */
  spend(): void {
    this.#left = Math.min(this.#left, REPLAYS);
  }

  /** The same agreement, which computes the AEAD key for this ephemeral key once. */
  remembering(agree: KeyAgreement): KeyAgreement {
    return (ephemeralPublicKey) => {
      const aeadKey = this.#aeadKeys.get(agree) ?? agree(ephemeralPublicKey);
      if (aeadKey) this.#aeadKeys.set(agree, aeadKey);
      return aeadKey;
    };
  }
}

/** The memory of ephemeral keys. Keys are 32 bytes. */
export class EphemeralKeys {
  readonly #keys = new Map<string, KnownKey>();

  get(key: Uint8Array): KnownKey | undefined {
    return this.#keys.get(bytesToHex(key));
  }

  /** Notes a key, unless it is known. */
  note(key: Uint8Array): KnownKey {
    const name = bytesToHex(key);
    const before = this.#keys.get(name);
    if (before) return before;
    const known = new KnownKey();
    this.#keys.set(name, known);
    if (this.#keys.size > MOST_KEYS) this.#keys.delete(this.#keys.keys().next().value!);
    return known;
  }
}
