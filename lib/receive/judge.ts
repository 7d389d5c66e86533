/**
 * Gives each datagram of the queue its verdict: at once where the client is among the first candidates, otherwise a few
 * signatures at a time. The one place that knows by which configuration knocks are judged now, and that charges
 * ephemeral keys for what was spent on them.
 */

import type { Address } from "../values/address.ts";
import type { Clock } from "../values/moment.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { ServerConfig } from "../config/server.ts";
import { keyAgreement } from "../crypto/sync.ts";
import { type GateRules, isStale, judging, type Verdict } from "../gate.ts";
import { ephemeralKeyOf } from "../packet.ts";
import type { ReplayMemory } from "../replay.ts";
import { FREE_CANDIDATES, RankedCandidates } from "./candidates.ts";
import { type Deferred, DeferredVerifications } from "./deferred.ts";
import type { EphemeralKeys } from "./ephemeral_keys.ts";
import { type Queued, rememberingAgreement } from "./queue.ts";

/** Signatures that deferred verification may check. */
const VERIFICATIONS = { perSecond: 4000, capacity: 400 };
/** In one turn: 1 ms, or a tenth of that while other datagrams wait. */
const VERIFICATIONS_PER_TURN = { idle: 20, busy: 2 };
/** Ephemeral keys of tagged knocks whose secrets are kept. */
const SECRETS_REMEMBERED = 4096;

/** What a judge works with. */
export interface JudgeParts {
  readonly replay: ReplayMemory;
  readonly clock: Clock;
  /** The ephemeral keys that the queue knows too. */
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
  /** The same for tagged and repeated knocks: what was agreed with an ephemeral key is remembered. */
  #rememberingRules: GateRules;

  constructor(config: ServerConfig, parts: JudgeParts) {
    this.#parts = parts;
    this.#candidates = new RankedCandidates(config.keys);
    this.#rules = this.#rulesOf(config);
    this.#rememberingRules = withMemory(this.#rules);
    this.#deferred = new DeferredVerifications({
      isStale: ({ knock }) => isStale(knock, this.#nowNs(), this.#rules),
      dropped: (source) => parts.dropped("overload", source),
    });
  }

  /** Judges a datagram, or defers its verification. The bytes are not kept. */
  take({ datagram, source, kind, tagged }: Queued): void {
    const { keys, decided } = this.#parts;
    const rules = kind === "other" ? this.#rules : this.#rememberingRules;
    // A tagged knock is judged to its end here: it is not deferred.
    const begun = this.#begin(tagged ? datagram : datagram.slice(), source, rules, tagged);
    if ("kind" in begun) return decided(begun, source);
    const key = ephemeralKeyOf(begun.datagram);
    // It was sealed to this server: strangers, who do not have its public key, add nothing here.
    if (!tagged) keys.note(key);
    const verdict = tryKeys(begun, tagged ? Infinity : FREE_CANDIDATES);
    // A late copy has taken no time from others.
    if (!verdict?.client && kind !== "late") keys.charge(key, tagged ? 1 : FREE_CANDIDATES);
    if (verdict) this.#decide(verdict, begun, tagged);
    else this.#deferred.add(begun);
  }

  /**
   * Tries a few more candidates for one deferred knock, by turns; fewer while other datagrams wait. Returns whether
   * knocks are still deferred.
   */
  continueDeferred(idle = true): boolean {
    const { keys, clock } = this.#parts;
    if (this.#deferred.size === 0) return false;
    const most = idle ? VERIFICATIONS_PER_TURN.idle : VERIFICATIONS_PER_TURN.busy;
    const allowed = this.#verifications.take(most, clock.now().steadyMs);
    let deferred = allowed > 0 ? this.#deferred.take() : undefined;
    if (!deferred) return true;
    if (deferred.candidates !== this.#candidates) {
      // The configuration has changed since.
      const begun = this.#begin(deferred.datagram, deferred.source, this.#rules, false);
      if ("kind" in begun) return this.#deferred.size > 0;
      deferred = begun;
    }
    const verdict = tryKeys(deferred, allowed);
    if (!verdict?.client) keys.charge(ephemeralKeyOf(deferred.datagram), allowed);
    if (verdict) this.#decide(verdict, deferred, false);
    else this.#deferred.add(deferred);
    return this.#deferred.size > 0;
  }

  /** From now on this configuration holds, for deferred knocks too: their search begins anew when it is their turn. */
  reconfigure(config: ServerConfig): void {
    this.#candidates = new RankedCandidates(config.keys, this.#candidates);
    this.#rules = this.#rulesOf(config);
    this.#rememberingRules = withMemory(this.#rules);
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

  #decide(verdict: Verdict, { datagram, source }: Deferred, tagged: boolean): void {
    const { keys, decided } = this.#parts;
    if (verdict.client) {
      const key = ephemeralKeyOf(datagram);
      // Without a tag it may be another client's signature on a watched body: the genuine one is still to come.
      if (tagged) keys.spend(key);
      else keys.charge(key, FREE_CANDIDATES);
    }
    decided(verdict, source);
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

function withMemory(rules: GateRules): GateRules {
  const { agree, previousAgree } = rules;
  return {
    ...rules,
    agree: rememberingAgreement(agree, SECRETS_REMEMBERED),
    previousAgree: previousAgree && rememberingAgreement(previousAgree, SECRETS_REMEMBERED),
  };
}
