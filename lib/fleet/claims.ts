/**
 * Which knocks are this host's to open, and which codes its to take: each is claimed at the engine once, and later where
 * that was away. Bounded.
 */

import type { Clock } from "../values/moment.ts";
import type { ClientEntry } from "../config/client_keys.ts";
import type { SignedKnock } from "../gate.ts";
import { codeOf } from "../packet.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { Engine } from "./engine.ts";
import { claimName, codeClaimName } from "./keys.ts";

/** Claims that are remembered, and with them that nobody has to be asked again. */
const MOST_CLAIMS = 4096;
/** Claims of one key: a client that floods a host must not fill the engine, which is all hosts'. */
const CLAIMS_OF_KEY = { perSecond: 10, capacity: 1000 };
/** A claim outlives the time in which its knock could be accepted, also where two clocks differ. */
const CLAIM_LASTS_WINDOWS = 3;
/** The same for a code, which is good for three steps of 30 s. */
const CODE_CLAIM_LASTS_MS = 180_000;

/** The claims of one host. */
export class Claims {
  readonly #clock: Clock;
  /** By name: whether it is this host's. */
  readonly #asked = new Map<string, Promise<boolean | undefined>>();
  /** Names that could not be claimed when their knocks came, and until when that is worth it, ms of the steady clock. */
  readonly #missed = new Map<string, number>();
  readonly #byKey = new Map<string, TokenBucket>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many are remembered. */
  get size(): number {
    return this.#asked.size;
  }

  /** Whether this host has a client's knock, and the code in it; `undefined` where the engine cannot say in time. */
  async claimKnock(
    engine: Engine | undefined,
    knock: SignedKnock,
    { client, replayWindowMs }: { readonly client: ClientEntry; readonly replayWindowMs: number },
  ): Promise<{ readonly isOurs: boolean | undefined; readonly isCodeOurs: boolean | undefined }> {
    const name = claimName(knock.key, knock.randomNonce);
    const of = { name, key: knock.key, forMs: CLAIM_LASTS_WINDOWS * replayWindowMs };
    const isOurs = await this.claim(engine, of);
    const { key, rules: { totp } = {} } = client;
    // Afterwards: a stranger's copy of a knock must not claim its code at another host.
    if (isOurs === false || totp === undefined) return { isOurs, isCodeOurs: isOurs };
    const codeName = codeClaimName(key, totp, codeOf(knock.randomNonce));
    const ofCode = { ...of, name: codeName, forMs: CODE_CLAIM_LASTS_MS };
    const isCodeOurs = await this.claim(engine, ofCode);
    // A key that has had too many claims must not get a code good at two hosts for that.
    const left = this.#byKey.get(knock.key)?.left(this.#clock.now().steadyMs) ?? 1;
    const hadTooMany = left < 1 && engine?.state().isUp;
    return { isOurs, isCodeOurs: isCodeOurs ?? (hadTooMany ? false : undefined) };
  }

  /**
   * Whether this host has what is claimed under this name for so long; `undefined` where the engine cannot say in time, and
   * where the key, a registered client's, has had too many.
   */
  async claim(
    engine: Engine | undefined,
    { name, key, forMs }: { readonly name: string; readonly key: string; readonly forMs: number },
  ): Promise<boolean | undefined> {
    const known = await this.#asked.get(name);
    if (known !== undefined) return known;
    const bucket = this.#byKey.get(key) ?? new TokenBucket(CLAIMS_OF_KEY);
    keep(this.#byKey, key, bucket);
    if (bucket.take(1, this.#clock.now().steadyMs) === 0) return undefined;
    const asked = engine?.claim(name, forMs).catch(() => undefined) ?? Promise.resolve(undefined);
    keep(this.#asked, name, asked);
    const isOurs = await asked;
    if (isOurs === undefined) keep(this.#missed, name, this.#clock.now().steadyMs + forMs);
    return isOurs;
  }

  /** Claims what came while the engine was away: those who watched it then would be let in with it at other hosts. */
  async claimMissed(engine: Engine | undefined): Promise<void> {
    for (const [name, untilSteadyMs] of this.#missed) {
      const leftMs = Math.round(untilSteadyMs - this.#clock.now().steadyMs);
      try {
        if (leftMs > 0) await engine?.claim(name, leftMs);
      } catch {
        return; // away again
      }
      this.#missed.delete(name);
    }
  }
}

/** The oldest gives way. */
function keep<T>(map: Map<string, T>, name: string, value: T): void {
  map.set(name, value);
  if (map.size > MOST_CLAIMS) map.delete(map.keys().next().value!);
}
