/**
 * Finds out who has signed each admitted datagram: at once where the client is among the first candidates, otherwise a few
 * signatures at a time.
 */

import type { Address } from "../values/address.ts";
import type { Clock } from "../values/moment.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { ServerConfig } from "../config/server.ts";
import { keyAgreement } from "../crypto/sync.ts";
import {
  identifying,
  type IdentifyRules,
  isStale,
  type SignedKnock,
  type Unidentified,
} from "../gate.ts";
import { ephemeralKeyOf } from "../packet.ts";
import type { Admitted } from "./admission.ts";
import { FREE_CANDIDATES, type KeyIndex, RankedCandidates } from "./candidates.ts";
import { type Deferred, DeferredVerifications } from "./deferred.ts";
import type { EphemeralKeys, KnownKey } from "./ephemeral_keys.ts";

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
  readonly dropped: (reason: Unidentified | "overload", source: Address) => void;
}

/** Searches under one configuration after the other. */
export class SignerSearch {
  readonly #parts: SearchParts;
  readonly #verifications = new TokenBucket(VERIFICATIONS);
  readonly #deferred: DeferredVerifications;
  #candidates: RankedCandidates;
  #rules: IdentifyRules;
  #replayWindowNs: bigint;

  constructor(config: SearchConfig, parts: SearchParts) {
    this.#parts = parts;
    this.#candidates = new RankedCandidates(config.keys);
    this.#rules = this.#rulesOf(config);
    this.#replayWindowNs = BigInt(config.replayWindowMs) * 1_000_000n;
    this.#deferred = new DeferredVerifications({
      isStale: ({ knock }) =>
        isStale(knock, parts.clock.now().wallNs, { replayWindowNs: this.#replayWindowNs }),
      dropped: (source) => parts.dropped("overload", source),
    });
  }

  /** Whether knocks wait for their client to be found. */
  get hasDeferred(): boolean {
    return this.#deferred.size > 0;
  }

  /** Looks for the signer of a datagram, or defers that. The bytes are not kept. */
  take(datagram: Uint8Array, source: Address, { tagged, key }: Admitted): void {
    const { keys } = this.#parts;
    const rules = key ? remembering(this.#rules, key) : this.#rules;
    // A search for a tagged knock ends here: it is not deferred.
    const begun = this.#begin(tagged ? datagram : datagram.slice(), source, rules, tagged);
    if (typeof begun === "string") return this.#tell(begun, source);
    // It was sealed to this server: strangers, who do not have its public key, add nothing here.
    const known = key ?? keys.note(ephemeralKeyOf(datagram));
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
      const begun = this.#begin(deferred.datagram, deferred.source, this.#rules, false);
      if (typeof begun === "string") return;
      deferred = begun;
    }
    const found = tryKeys(deferred, allowed);
    if (found) this.#tell(found, deferred.source);
    else this.#deferred.add(deferred);
  }

  /** From now on this configuration holds, for deferred knocks too: their search begins anew when it is their turn. */
  reconfigure(config: SearchConfig): void {
    this.#candidates = new RankedCandidates(config.keys, this.#candidates);
    this.#rules = this.#rulesOf(config);
    this.#replayWindowNs = BigInt(config.replayWindowMs) * 1_000_000n;
  }

  /** A knock under this key from there passed every check: the key is tried among the first from now on. */
  accepted(key: string, source: Address): void {
    this.#candidates.accepted(key, source);
  }

  #begin(
    datagram: Uint8Array,
    source: Address,
    rules: IdentifyRules,
    hintedOnly: boolean,
  ): Deferred | Unidentified {
    const steps = identifying(datagram, source, rules, { hintedOnly });
    const { done, value } = steps.next();
    if (!done) return { datagram, source, knock: value, candidates: this.#candidates, steps };
    return value as Unidentified; // the first step unseals, and tries no key
  }

  #tell(found: SignedKnock | Unidentified, source: Address): void {
    if (typeof found === "string") this.#parts.dropped(found, source);
    else this.#parts.signed(found);
  }

  #rulesOf({ privateKey, previousPrivateKey }: SearchConfig): IdentifyRules {
    return {
      agree: keyAgreement(privateKey),
      previousAgree: previousPrivateKey && keyAgreement(previousPrivateKey),
      candidates: this.#candidates,
    };
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

function remembering(rules: IdentifyRules, key: KnownKey): IdentifyRules {
  const { agree, previousAgree } = rules;
  return {
    ...rules,
    agree: key.remembering(agree),
    previousAgree: previousAgree && key.remembering(previousAgree),
  };
}
