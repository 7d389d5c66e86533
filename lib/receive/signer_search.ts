/**
 * Finds out who has signed each admitted datagram: at once where the client is among the first candidates, otherwise a few
 * signatures at a time.
 */

import type { Address } from "../values/address.ts";
import type { Clock } from "../values/moment.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { ServerConfig } from "../config/server.ts";
import type { KeyAgreement } from "../crypto/keys.ts";
import {
  type Agreements,
  agreementsOf,
  identifying,
  isStale,
  type ReadDatagram,
  type SignedKnock,
  type Unidentified,
  unseal,
} from "../gate.ts";
import { ephemeralKeyOf } from "../packet.ts";
import type { Admitted } from "./admission.ts";
import { FREE_CANDIDATES, type KeyIndex, RankedCandidates } from "./candidates.ts";
import { type Deferred, DeferredVerifications } from "./deferred.ts";
import type { EphemeralKeys } from "./ephemeral_keys.ts";

/** Signatures that deferred verification may check. */
const VERIFICATIONS = { perSecond: 4000, capacity: 400 };
/** In one turn: 1 ms. */
const VERIFICATIONS_PER_TURN = 20;

/** What it takes of a configuration. */
export interface SearchConfig
  extends Pick<ServerConfig, "privateKey" | "previousPrivateKey" | "replayWindowMs"> {
  readonly keys: KeyIndex;
}

/** What a search works with. */
export interface SearchParts {
  readonly clock: Clock;
  /** The ephemeral keys by which datagrams are admitted. */
  readonly keys: EphemeralKeys;
  /** Told each knock whose signer was found, before anything else is looked at. */
  readonly signed: (knock: SignedKnock) => void;
  /** Told of each datagram that no client has signed, and of each that is given up. */
  readonly dropped: (reason: Unidentified | "overload", source: () => Address) => void;
}

/** Searches under one configuration after the other. */
export class SignerSearch {
  readonly #parts: SearchParts;
  readonly #verifications = new TokenBucket(VERIFICATIONS);
  readonly #deferred: DeferredVerifications;
  #candidates: RankedCandidates;
  #agreements: Agreements;
  #replayWindowNs: bigint;

  constructor(config: SearchConfig, parts: SearchParts) {
    this.#parts = parts;
    this.#candidates = new RankedCandidates(config.keys);
    this.#agreements = agreementsOf(config);
    this.#replayWindowNs = BigInt(config.replayWindowMs) * 1_000_000n;
    this.#deferred = new DeferredVerifications({
      isStale: ({ knock }) =>
        isStale(knock, parts.clock.now().wallNs, { replayWindowNs: this.#replayWindowNs }),
      dropped: (source) => parts.dropped("overload", () => source),
    });
  }

  /** Whether knocks wait for their client to be found. */
  get hasDeferred(): boolean {
    return this.#deferred.size > 0;
  }

  /** Looks for the signer of a datagram, or defers that. The bytes are not kept. */
  take(datagram: Uint8Array, sourceOf: () => Address, { tagged, key }: Admitted): void {
    const { keys, dropped } = this.#parts;
    const { agree, previousAgree } = this.#agreements;
    const once = (each: KeyAgreement) => key?.remembering(each) ?? each;
    const rules = { agree: once(agree), previousAgree: previousAgree && once(previousAgree) };
    const knock = unseal(datagram, rules);
    if (typeof knock === "string") return dropped(knock, sourceOf);
    // It was sealed to this server: strangers, who do not have its public key, add nothing here.
    const known = key ?? keys.note(ephemeralKeyOf(datagram));
    const source = sourceOf();
    // A search for a tagged knock ends here: it is not deferred.
    const begun = this.#begin(
      { knock, source, datagram: tagged ? datagram : datagram.slice() },
      { hintedOnly: tagged },
    );
    const found = tryKeys(begun, tagged ? Infinity : FREE_CANDIDATES);
    // Without a tag it may be another client's signature on a watched body: the genuine one is still to come.
    if (typeof found === "object" && tagged) known.spend();
    if (found) this.#tell(found, source);
    else this.#deferred.add(begun);
  }

  /** Tries a few more candidates for one deferred knock, by turns. */
  continueDeferred(): void {
    const { clock } = this.#parts;
    const allowed = this.#verifications.take(VERIFICATIONS_PER_TURN, clock.now().steadyMs);
    let deferred = allowed > 0 ? this.#deferred.take() : undefined;
    if (!deferred) return;
    if (deferred.candidates !== this.#candidates) {
      // The configuration has changed since.
      const knock = unseal(deferred.datagram, this.#agreements);
      if (typeof knock === "string") return;
      deferred = this.#begin({ ...deferred, knock }, { hintedOnly: false });
    }
    const found = tryKeys(deferred, allowed);
    if (found) this.#tell(found, deferred.source);
    else this.#deferred.add(deferred);
  }

  /** From now on this configuration holds, for deferred knocks too: their search begins anew when it is their turn. */
  reconfigure(config: SearchConfig): void {
    this.#candidates = new RankedCandidates(config.keys, this.#candidates);
    this.#agreements = agreementsOf(config);
    this.#replayWindowNs = BigInt(config.replayWindowMs) * 1_000_000n;
  }

  /** A knock under this key from there passed every check: the key is tried among the first from now on. */
  accepted(key: string, source: Address): void {
    this.#candidates.accepted(key, source);
  }

  #begin(read: ReadDatagram, options: { readonly hintedOnly: boolean }): Deferred {
    const candidates = this.#candidates;
    return { ...read, candidates, steps: identifying(read, candidates, options) };
  }

  #tell(found: SignedKnock | Unidentified, source: Address): void {
    if (typeof found === "string") this.#parts.dropped(found, () => source);
    else this.#parts.signed(found);
  }
}

/** Tries so many keys; `undefined` where more are left to try. */
function tryKeys({ steps }: Deferred, keys: number): SignedKnock | Unidentified | undefined {
  for (let tried = 0; tried < keys; tried++) {
    const { done, value } = steps.next();
    if (done) return value;
  }
  return undefined;
}
