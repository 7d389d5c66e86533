/** npm:iovalkey, with what it lacks: bounds on what it reads. It is loaded with this file, which is loaded late. */

import { AbstractConnector, Redis } from "iovalkey";
import type { EngineAccess } from "./engine.ts";
import { EngineFault } from "./faults.ts";
import { connectTo, type EngineStream } from "./stream.ts";

/** A connection. Nothing that was not written at once waits in it. */
export interface Opened {
  readonly redis: Redis;
  /** Resolves once the engine takes commands, and has taken the password. */
  readonly ready: Promise<void>;
  /** Rejects once the connection has ended. */
  readonly ended: Promise<never>;
  /** Why it ended, where the engine is to blame. */
  fault(): EngineFault | undefined;
  close(): void;
}

/** Connects once. */
export function openRedis(access: EngineAccess, withinMs: number): Opened {
  const closed = Promise.withResolvers<never>();
  closed.promise.catch(() => {});
  let stream: EngineStream | undefined;
  let isClosed = false;
  class Connector extends AbstractConnector {
    async connect() {
      const connecting = connectTo(access, withinMs);
      connecting.then((late) => isClosed && late.destroy(), () => {});
      // The library needs no more of a socket than this.
      return stream = await Promise.race([connecting, closed.promise]) as EngineStream & never;
    }
    override disconnect() {
      isClosed = true;
      closed.reject(new EngineFault("lost"));
      stream?.destroy();
    }
  }
  const redis = new Redis({
    Connector: Connector as never,
    lazyConnect: true,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    noDelay: false, // openme's own stream sees to that
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  redis.on("error", (cause: Error) => {
    if (!stream) return;
    stream.fault ??= cause instanceof EngineFault ? cause : new EngineFault("protocol");
    stream.destroy();
  });
  const ended = new Promise<never>((_, reject) => {
    redis.once("end", () => reject(stream?.fault ?? new EngineFault("lost")));
  });
  const ready = begin(redis, access.url);
  for (const each of [ready, ended]) each.catch(() => {});
  const fault = () => stream?.fault?.fault === "lost" ? undefined : stream?.fault;
  return { redis, ready, ended, fault, close: () => redis.disconnect() };
}

/** Not by the library, which prints complaints about passwords. */
async function begin(redis: Redis, url: string): Promise<void> {
  await redis.connect();
  const { username, password, pathname } = new URL(url);
  const [user, word] = [username, password].map(decodeURIComponent) as [string, string];
  const database = pathname.slice(1);
  if (word !== "") await redis.call("AUTH", ...user === "" ? [word] : [user, word]);
  if (database !== "") await redis.call("SELECT", database);
}

/** Rejects where it takes longer. */
export async function inTime<T>(promise: Promise<T>, ms: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new EngineFault("late")), ms);
  promise.catch(() => {});
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
