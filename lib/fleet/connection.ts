/** The connection to the engine: claims, the stream, and how it heals. The only file that knows Redis' commands. */

import { pause } from "../system/clock.ts";
import type { Clock } from "../values/moment.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import {
  CLAIM_MS,
  type Engine,
  type EngineAccess,
  type EngineListener,
  type EngineState,
  MOST_ENTRY_CHARACTERS,
} from "./engine.ts";
import { EngineFault, type Fault, faultOf, FAULTS } from "./faults.ts";
import { inTime, type Opened, openRedis } from "./library.ts";
import { readEntries, timeOf } from "./reader.ts";

/** Claims, and entries of this host's own, that wait for an answer. */
const MOST_CLAIMS = 256;
const MOST_PUBLISHED = 1024;
/** After so many in a row that are late, the engine counts as away. */
const LATE_CLAIMS = 5;
/** Entries that the engine keeps. */
const KEPT_ENTRIES = 10_000;
/** Entries that are passed on. */
const ENTRIES = { perSecond: 1000, capacity: 2000 };
const CONNECT_MS = 2000;
const ANSWER_MS = 1000;
/** A host pings every second, and an engine that does not answer for so long hangs. */
const PING_MS = 1000;
const PONG_MS = 500;
/** The wait is short again after a connection that has lasted. */
const RETRY_MS = { first: 100, most: 2000 };
const LASTED_MS = 10_000;

/** Connects, and goes on trying until it is closed. */
export function connectEngine(
  access: EngineAccess,
  listener: EngineListener,
  clock: Clock,
): Engine {
  return new Connection(access, listener, clock);
}

class Connection implements Engine {
  readonly #access: EngineAccess;
  readonly #listener: EngineListener;
  readonly #clock: Clock;
  readonly #end = new AbortController();
  readonly #running: Promise<void>;
  readonly #entries = new TokenBucket(ENTRIES);
  /** The connections, and the one for claims once it is up. */
  #opened: Opened[] = [];
  #current: Opened | undefined;
  #claims = 0;
  #published = 0;
  /** Claims in a row that were not answered in time. */
  #late = 0;
  #state: EngineState;

  constructor(access: EngineAccess, listener: EngineListener, clock: Clock) {
    this.#access = access;
    this.#listener = listener;
    this.#clock = clock;
    this.#state = {
      isUp: false,
      why: FAULTS.starting,
      sinceSteadyMs: clock.now().steadyMs,
      roundTripMs: undefined,
    };
    this.#running = this.#run();
  }

  state(): EngineState {
    return this.#state;
  }

  async claim(name: string, forMs: number): Promise<boolean> {
    const opened = this.#current;
    if (!opened || this.#claims >= MOST_CLAIMS) throw new EngineFault("late");
    const key = this.#key(`claim:${name}`);
    const { claimant } = this.#access;
    this.#claims++;
    try {
      const { redis } = opened;
      // Redis 6 takes no GET beside NX: two commands, sent together.
      const asked = redis.pipeline().set(key, claimant, "PX", forMs, "NX").get(key).exec();
      const [taken, held] = await inTime(asked, CLAIM_MS) ?? [];
      const failed = taken?.[0] ?? held?.[0];
      if (failed) throw failed;
      // An engine that takes a claim has its holder.
      if (typeof held?.[1] !== "string") throw new EngineFault("protocol");
      this.#late = 0;
      return held[1] === claimant;
    } catch (cause) {
      const isLate = cause instanceof EngineFault && cause.fault === "late";
      this.#late = isLate ? this.#late + 1 : 0;
      if (!isLate || this.#late >= LATE_CLAIMS) this.#fail(opened, cause);
      throw new EngineFault(faultOf(cause));
    } finally {
      this.#claims--;
    }
  }

  publish(entry: string): void {
    const opened = this.#current;
    if (!opened || this.#published >= MOST_PUBLISHED) return;
    this.#published++;
    // Not "~", which takes only some away at a time: others may have written a million.
    opened.redis.xadd(this.#key("stream"), "MAXLEN", KEPT_ENTRIES, "*", "e", entry)
      .catch((cause) => this.#fail(opened, cause))
      .finally(() => this.#published--);
  }

  async close(): Promise<void> {
    this.#end.abort();
    for (const opened of this.#opened) opened.close();
    await this.#running;
  }

  #key(rest: string): string {
    return `openme:${this.#access.name}:${rest}`;
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    let retryMs = RETRY_MS.first;
    while (!signal.aborted) {
      const startMs = performance.now();
      const over = new AbortController();
      try {
        await this.#serve(AbortSignal.any([signal, over.signal]));
      } catch (cause) {
        this.#current = undefined;
        const faults = this.#opened.map(({ fault }) => fault());
        this.#down(faultOf(faults.find((fault) => fault !== undefined) ?? cause));
      }
      over.abort();
      this.#current = undefined;
      for (const opened of this.#opened.splice(0)) opened.close();
      if (performance.now() - startMs > LASTED_MS) retryMs = RETRY_MS.first;
      await pause(retryMs, signal);
      retryMs = Math.min(2 * retryMs, RETRY_MS.most);
    }
  }

  /** One connection for claims and entries, another one that waits for entries. Rejects where either fails. */
  async #serve(signal: AbortSignal): Promise<void> {
    const opening = [openRedis(this.#access, CONNECT_MS), openRedis(this.#access, CONNECT_MS)];
    const [opened, reader] = this.#opened = opening as [Opened, Opened];
    await inTime(Promise.all([opened.ready, reader.ready]), 2 * CONNECT_MS);
    const nowMs = await timeOf(reader);
    // A ping that writes: an engine that is full, or a replica, is of no use.
    const probe = this.#key(`probe:${this.#access.claimant}`);
    const ping = (withinMs: number) =>
      inTime(opened.redis.set(probe, "1", "PX", 10 * PING_MS), withinMs);
    await ping(ANSWER_MS);
    signal.throwIfAborted();
    this.#late = 0;
    this.#current = opened;
    this.#up(undefined);
    const pinging = async () => {
      while (!signal.aborted) {
        const startMs = performance.now();
        await ping(PONG_MS);
        if (this.#current !== opened) return;
        this.#up(performance.now() - startMs);
        await pause(PING_MS, signal);
      }
    };
    const reading = readEntries(reader, {
      stream: this.#key("stream"),
      sinceMs: this.#access.sinceMs,
      nowMs,
      pass: (entry) => this.#pass(entry),
      signal,
    });
    await Promise.race([opened.ended, reader.ended, pinging(), reading]);
  }

  #pass(entry: unknown): void {
    if (typeof entry !== "string" || entry.length > MOST_ENTRY_CHARACTERS) return;
    if (this.#end.signal.aborted) return;
    if (this.#entries.take(1, this.#clock.now().steadyMs) === 1) this.#listener.entry(entry);
  }

  #up(roundTripMs: number | undefined): void {
    const { isUp, sinceSteadyMs, roundTripMs: before } = this.#state;
    const now = this.#clock.now().steadyMs;
    this.#state = {
      isUp: true,
      why: undefined,
      sinceSteadyMs: isUp ? sinceSteadyMs : now,
      roundTripMs: roundTripMs ?? before,
    };
    if (!isUp) this.#listener.changed(this.#state);
  }

  /** Ends the connection of a command that failed, if it is still in use. */
  #fail(opened: Opened, cause: unknown): void {
    if (this.#current !== opened) return;
    this.#current = undefined;
    this.#down(faultOf(opened.fault() ?? cause));
    opened.close();
  }

  #down(fault: Fault): void {
    if (this.#end.signal.aborted) return;
    const { isUp, why: before } = this.#state;
    const why = FAULTS[fault];
    // The end of a connection says less than what ended it.
    if (!isUp && (why === before || fault === "lost" && before !== FAULTS.starting)) return;
    const sinceSteadyMs = isUp ? this.#clock.now().steadyMs : this.#state.sinceSteadyMs;
    this.#state = { ...this.#state, isUp: false, why, sinceSteadyMs };
    this.#listener.changed(this.#state);
  }
}
