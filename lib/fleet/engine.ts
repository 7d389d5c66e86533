/** What a fleet's hosts share: a server of Redis' protocol, which is trusted with nothing. */

/** Whether the engine answers, and since when. */
export interface EngineState {
  readonly isUp: boolean;
  /** Why it does not answer, as openme says it; `undefined` while it does. */
  readonly why: string | undefined;
  /** ms of the steady clock. */
  readonly sinceSteadyMs: number;
  /** The last round trip, ms; `undefined` before the first. */
  readonly roundTripMs: number | undefined;
}

/** A connection to the engine that heals itself. Nothing waits in it without bound. */
export interface Engine {
  /**
   * Claims a name for this host: whether it has it now, or had it before. Rejects within {@linkcode CLAIM_MS} where the
   * engine cannot say.
   */
  claim(name: string, forMs: number): Promise<boolean>;
  /** Adds an entry to the stream that every host reads; never throws, and is dropped where the engine is away. */
  publish(entry: string): void;
  state(): EngineState;
  close(): Promise<void>;
}

/** Told by an engine. They must not throw. */
export interface EngineListener {
  /** An entry of the stream, anyone's: those of the last `sinceMs` at the start and after an outage, then as they come. */
  entry(entry: string): void;
  changed(state: EngineState): void;
}

/** What it takes to reach an engine. */
export interface EngineAccess {
  /** `redis://` or `rediss://`, with user and password where it wants them. Secret. */
  readonly url: string;
  /** The certificates, PEM, that the engine's is to be signed by; `undefined` for those that every system trusts. */
  readonly trust: string | undefined;
  /** The fleet's name: the first part of every key in the engine. */
  readonly name: string;
  /** This process' own name among the hosts: random, new at each start. */
  readonly claimant: string;
  /** How old entries may be that are still read. */
  readonly sinceMs: number;
}

/** How long a claim may take beside a knock. */
export const CLAIM_MS = 50;
/** Longer entries are not read. */
export const MOST_ENTRY_CHARACTERS = 900;
