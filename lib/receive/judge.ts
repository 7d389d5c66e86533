/**
 * Gives each admitted datagram its verdict: at once where the client is among the first candidates, otherwise a few
 * signatures at a time. The one place that knows by which configuration knocks are judged now.
 */

import type { Address } from "../values/address.ts";
import type { Clock } from "../values/moment.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { ServerConfig } from "../config/server.ts";
import { keyAgreement } from "../crypto/sync.ts";
import { type GateRules, isStale, judging, type Verdict } from "../gate.ts";
import { ephemeralKeyOf } from "../packet.ts";
import type { ReplayMemory } from "../replay.ts";
import type { Admitted } from "./admission.ts";
import { FREE_CANDIDATES, RankedCandidates } from "./candidates.ts";
import { type Deferred, DeferredVerifications } from "./deferred.ts";
import type { EphemeralKeys, KnownKey } from "./ephemeral_keys.ts";

/** Signatures that deferred verification may check. */
const VERIFICATIONS = { perSecond: 4000, capacity: 400 };
/** In one turn: 1 ms. */
const VERIFICATIONS_PER_TURN = 20;

/** What a judge works with. */
export interface JudgeParts {
  readonly replay: ReplayMemory;
  readonly clock: Clock;
  /** The ephemeral keys by which datagrams are admitted. */
  readonly keys: EphemeralKeys;
  readonly hasRoom: GateRules["hasRoom"];
  /** Told each verdict, before anything else is judged. */
  readonly decided: (verdict: Verdict, source: Address) => void;
  /** Told of each datagram that is given up without a verdict. */
  readonly dropped: (reason: "overload", source: Address) => void;
}

/** Judges under one configuration after the other. */
export class Judge {
  readonly #parts: JudgeParts;
  readonly #verifications = new TokenBucket(VERIFICATIONS);
  readonly #deferred: DeferredVerifications;
  #candidates: RankedCandidates;
  #rules: GateRules;

  constructor(config: ServerConfig, parts: JudgeParts) {
    this.#parts = parts;
    this.#candidates = new RankedCandidates(config.keys);
    this.#rules = this.#rulesOf(config);
    this.#deferred = new DeferredVerifications({
      isStale: ({ knock }) => isStale(knock, this.#nowNs(), this.#rules),
      dropped: (source) => parts.dropped("overload", source),
    });
  }

  /** Whether knocks wait for their client to be found. */
  get hasDeferred(): boolean {
    return this.#deferred.size > 0;
  }

  /** Judges a datagram, or defers its verification. The bytes are not kept. */
  take(datagram: Uint8Array, source: Address, { tagged, key }: Admitted): void {
    const { keys, decided } = this.#parts;
    const rules = key ? remembering(this.#rules, key) : this.#rules;
    // A tagged knock is judged to its end here: it is not deferred.
    const begun = this.#begin(tagged ? datagram : datagram.slice(), source, rules, tagged);
    if ("kind" in begun) return decided(begun, source);
    // It was sealed to this server: strangers, who do not have its public key, add nothing here.
    const known = key ?? keys.note(ephemeralKeyOf(datagram));
    const verdict = tryKeys(begun, tagged ? Infinity : FREE_CANDIDATES);
    // Without a tag it may be another client's signature on a watched body: the genuine one is still to come.
    if (verdict?.client && tagged) known.spend();
    if (verdict) decided(verdict, source);
    else this.#deferred.add(begun);
  }

  /** Tries a few more candidates for one deferred knock, by turns. */
  continueDeferred(): void {
    const { decided, clock } = this.#parts;
    const allowed = this.#verifications.take(VERIFICATIONS_PER_TURN, clock.now().steadyMs);
    let deferred = allowed > 0 ? this.#deferred.take() : undefined;
    if (!deferred) return;
    if (deferred.candidates !== this.#candidates) {
      // The configuration has changed since.
      const begun = this.#begin(deferred.datagram, deferred.source, this.#rules, false);
      if ("kind" in begun) return;
      deferred = begun;
    }
    const verdict = tryKeys(deferred, allowed);
    if (verdict) decided(verdict, deferred.source);
    else this.#deferred.add(deferred);
  }

  /** From now on this configuration holds, for deferred knocks too: their search begins anew when it is their turn. */
  reconfigure(config: ServerConfig): void {
    this.#candidates = new RankedCandidates(config.keys, this.#candidates);
    this.#rules = this.#rulesOf(config);
  }

  #begin(
    datagram: Uint8Array,
    source: Address,
    rules: GateRules,
    hintedOnly: boolean,
  ): Deferred | Verdict {
    const steps = judging(datagram, source, rules, () => this.#nowNs(), { hintedOnly });
    const { done, value } = steps.next();
    return done ? value : { datagram, source, knock: value, candidates: this.#candidates, steps };
  }

  #rulesOf({ privateKey, previousPrivateKey, replayWindowMs }: ServerConfig): GateRules {
    return {
      agree: keyAgreement(privateKey),
      previousAgree: previousPrivateKey && keyAgreement(previousPrivateKey),
      candidates: this.#candidates,
      replayWindowNs: BigInt(replayWindowMs) * 1_000_000n,
      replay: this.#parts.replay,
      hasRoom: this.#parts.hasRoom,
    };
  }

  #nowNs(): bigint {
    return this.#parts.clock.now().wallNs;
  }
}

/** Tries so many keys; `undefined` where more are left to try. */
function tryKeys({ steps }: Deferred, keys: number): Verdict | undefined {
  for (let tried = 0; tried < keys; tried++) {
    const { done, value } = steps.next();
    if (done) return value;
  }
  return undefined;
}

function remembering(rules: GateRules, key: KnownKey): GateRules {
  const { agree, previousAgree } = rules;
  return {
    ...rules,
    agree: key.remembering(agree),
    previousAgree: previousAgree && key.remembering(previousAgree),
  };
}
