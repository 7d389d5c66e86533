/** The connection to the engine: claims, the stream, and how it heals. The only file that knows Redis' protocol. */

import { Redis } from "iovalkey";
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

/** Claims that wait for an answer. */
const MOST_CLAIMS = 256;
/** After so many in a row that are late, the engine counts as away. */
const LATE_CLAIMS = 5;
/** Entries that the engine keeps, about; and that are read at once. */
const KEPT_ENTRIES = 10_000;
const READ_ENTRIES = 100;
/** Entries that are passed on. */
const ENTRIES = { perSecond: 1000, capacity: 2000 };
const CONNECT_MS = 2000;
const ANSWER_MS = 1000;
const PING_MS = 1000;
/** How long the reader waits for an entry, in the engine. */
const BLOCK_MS = 2000;
const RETRY_MS = { first: 100, most: 2000 };
/** What the engine may send of answers beside entries, in all: those of claims and pings are a few bytes each. */
const MOST_BYTES = { perSecond: 4_000_000, capacity: 8_000_000 };

/** Connects, and goes on trying until it is closed. */
export function connectEngine(
  access: EngineAccess,
  listener: EngineListener,
  clock: Clock,
): Engine {
  return new Connection(access, listener, clock);
}

type Opened = Redis & { lastError?: Error };

class Connection implements Engine {
  readonly #access: EngineAccess;
  readonly #listener: EngineListener;
  readonly #clock: Clock;
  readonly #end = new AbortController();
  readonly #running: Promise<void>;
  readonly #entries = new TokenBucket(ENTRIES);
  #redis: Redis | undefined;
  #claims = 0;
  /** Claims in a row that were not answered in time. */
  #late = 0;
  #state: EngineState;

  constructor(access: EngineAccess, listener: EngineListener, clock: Clock) {
    this.#access = access;
    this.#listener = listener;
    this.#clock = clock;
    this.#state = {
      isUp: false,
      why: "it has not answered so far",
      sinceSteadyMs: clock.now().steadyMs,
      roundTripMs: undefined,
    };
    this.#running = this.#run();
  }

  state(): EngineState {
    return this.#state;
  }

  async claim(name: string, forMs: number): Promise<boolean> {
    const redis = this.#redis;
    if (!redis || !this.#state.isUp || this.#claims >= MOST_CLAIMS) throw new Error("away");
    const key = this.#key(`claim:${name}`);
    const { claimant } = this.#access;
    this.#claims++;
    try {
      const asked = redis.pipeline().set(key, claimant, "PX", forMs, "NX").get(key).exec();
      const answers = await inTime(asked, CLAIM_MS);
      const [, second] = answers ?? [];
      const [error, holder] = second ?? [new Error("no answer"), null];
      // Without a holder the engine did not take it: it is full, or it is no engine.
      if (error || typeof holder !== "string") {
        throw answers?.[0]?.[0] ?? error ?? new Error("lost");
      }
      this.#late = 0;
      return holder === claimant;
    } catch (cause) {
      this.#late = cause instanceof Late ? this.#late + 1 : 0;
      const isLate = cause instanceof Late && this.#late < LATE_CLAIMS;
      if (this.#redis === redis && !isLate) this.#down(whyOf(cause), redis);
      throw cause;
    } finally {
      this.#claims--;
    }
  }

  publish(entry: string): void {
    const redis = this.#redis;
    if (!redis || !this.#state.isUp) return;
    redis.xadd(this.#key("stream"), "MAXLEN", "~", KEPT_ENTRIES, "*", "e", entry)
      .catch((cause) => {
        if (this.#redis === redis) this.#down(whyOf(cause), redis);
      });
  }

  async close(): Promise<void> {
    this.#end.abort();
    this.#redis?.disconnect();
    await this.#running;
  }

  #key(rest: string): string {
    return `openme:${this.#access.name}:${rest}`;
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    let retryMs = RETRY_MS.first;
    while (!signal.aborted) {
      const opened: Opened[] = [];
      const startMs = performance.now();
      try {
        await this.#serve(opened);
      } catch (cause) {
        this.#down(whyOf(cause));
      }
      // One that comes and goes is not asked in quick succession.
      if (performance.now() - startMs > 2 * RETRY_MS.most) retryMs = RETRY_MS.first;
      for (const redis of opened) redis.disconnect();
      this.#redis = undefined;
      await pause(retryMs, signal);
      retryMs = Math.min(2 * retryMs, RETRY_MS.most);
    }
  }

  /** One connection for claims and entries, another one that waits for entries. Rejects where either fails. */
  async #serve(opened: Opened[]): Promise<void> {
    const [redis, reader] = [this.#open(opened), this.#open(opened)];
    await inTime(Promise.all([redis.connect(), reader.connect()]), CONNECT_MS);
    const [seconds] = await inTime(redis.time(), ANSWER_MS);
    if (!Number.isSafeInteger(Number(seconds))) throw new Error("it is no engine");
    // Both sides of a claim: whether it can be written, and read.
    const probe = this.#key(`probe:${this.#access.claimant}`);
    await inTime(redis.set(probe, "1", "PX", 10 * PING_MS), ANSWER_MS);
    this.#redis = redis;
    this.#up(undefined);
    const failed = Promise.withResolvers<never>();
    for (const each of opened) each.once("end", () => failed.reject(each.lastError ?? gone()));
    const over = new AbortController();
    try {
      await Promise.race([
        failed.promise,
        this.#ping(redis, probe, over.signal),
        this.#read(reader, (Number(seconds) * 1000) - this.#access.sinceMs, over.signal),
      ]);
    } finally {
      over.abort();
      failed.promise.catch(() => {});
    }
  }

  #open(opened: Opened[]): Opened {
    const { url, trust } = this.#access;
    const redis: Opened = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      enableReadyCheck: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null, // the loop above does
      connectTimeout: CONNECT_MS,
      ...url.startsWith("rediss:") && trust !== undefined ? { tls: { ca: trust } } : {},
    });
    redis.on("error", (cause: Error) => redis.lastError = cause);
    const bytes = new TokenBucket(MOST_BYTES);
    redis.on("connect", () => {
      redis.stream?.on("data", (chunk: Uint8Array) => {
        const { steadyMs } = this.#clock.now();
        if (bytes.take(chunk.length, steadyMs) === chunk.length) return;
        redis.lastError = new Error("it sends too much");
        redis.disconnect();
      });
    });
    opened.push(redis);
    return redis;
  }

  /** Finds an engine that hangs, or takes no more writes. */
  async #ping(redis: Redis, probe: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.#end.signal.aborted) {
      const startMs = performance.now();
      await inTime(redis.set(probe, "1", "PX", 10 * PING_MS), ANSWER_MS);
      this.#up(performance.now() - startMs);
      await pause(PING_MS, this.#end.signal);
    }
  }

  /** Passes on entries, from that time of the engine on. */
  async #read(reader: Redis, sinceMs: number, signal: AbortSignal): Promise<void> {
    const first = `${Math.max(0, Math.floor(sinceMs))}-0`;
    let last = first;
    while (!signal.aborted && !this.#end.signal.aborted) {
      const stream = this.#key("stream");
      const waiting = reader.xread(
        "COUNT",
        READ_ENTRIES,
        "BLOCK",
        BLOCK_MS,
        "STREAMS",
        stream,
        last,
      );
      const answer = await inTime(waiting, BLOCK_MS + ANSWER_MS);
      if (!answer && await this.#isBehind(reader, stream, last)) last = first;
      for (const [id, fields] of answer?.[0]?.[1] ?? []) {
        last = String(id);
        const entry = fields?.[1];
        const { steadyMs } = this.#clock.now();
        if (typeof entry !== "string" || entry.length > MOST_ENTRY_CHARACTERS) continue;
        if (this.#entries.take(1, steadyMs) === 1) this.#listener.entry(entry);
      }
    }
  }

  /** Whether the stream ends before that number: someone has deleted it. */
  async #isBehind(reader: Redis, stream: string, last: string): Promise<boolean> {
    const newest = await inTime(reader.xrevrange(stream, "+", "-", "COUNT", 1), ANSWER_MS);
    const [ms, sequence] = String(newest[0]?.[0] ?? "0-0").split("-").map(Number);
    const [lastMs, lastSequence] = last.split("-").map(Number);
    return ms! < lastMs! || ms === lastMs && sequence! < lastSequence!;
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

  #down(why: string, redis?: Redis): void {
    redis?.disconnect();
    if (this.#end.signal.aborted) return;
    const { isUp, why: before } = this.#state;
    if (!isUp && why === before) return;
    const sinceSteadyMs = this.#clock.now().steadyMs;
    this.#state = { ...this.#state, isUp: false, why, sinceSteadyMs };
    this.#listener.changed(this.#state);
  }
}

class Late extends Error {
  constructor() {
    super("no answer in time");
  }
}

function gone(): Error {
  return new Error("the connection was closed");
}

/** openme's own words for what the engine or the way to it said: that is never passed on. */
function whyOf(cause: unknown): string {
  const { message = "", code = "" } = Object(cause) as { message?: string; code?: string };
  const text = `${code} ${message}`;
  const known: [pattern: RegExp, why: string][] = [
    [/WRONGPASS|NOAUTH|NOPERM|invalid username|AUTH/, "it refuses the password, or wants one"],
    [/OOM/, "it is full (maxmemory)"],
    [/READONLY/, "it takes no writes: a replica"],
    [/LOADING|MASTERDOWN|CLUSTERDOWN|BUSY/, "it is starting, or busy"],
    [/MISCONF/, "it takes no writes: its disk is full, or it cannot save"],
    [/WRONGTYPE/, "something else is stored under the fleet's name"],
    [
      /certificate|CERT_|UnknownIssuer|SSL|TLS/i,
      "its certificate is not one of server.fleet.trust",
    ],
    [/ENOTFOUND|EAI_AGAIN|getaddrinfo|resolve/i, "its name is not found"],
    [/ECONNREFUSED|refused/i, "it refuses connections"],
    [/no answer in time|ETIMEDOUT|timed? ?out/i, "it does not answer"],
    [/too much/, "it sends too much"],
    [/no engine|Protocol error/i, "it does not speak Redis' protocol"],
  ];
  return known.find(([pattern]) => pattern.test(text))?.[1] ?? "the connection was lost";
}

async function inTime<T>(promise: Promise<T>, ms: number): Promise<T> {
  const over = new AbortController();
  const late = pause(ms, over.signal).then(() => {
    throw new Late();
  });
  late.catch(() => {});
  promise.catch(() => {});
  return await Promise.race([promise, late]).finally(() => over.abort());
}
