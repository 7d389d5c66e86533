/** A connection to an engine as the library wants it, with bounds on what comes. */

import { Duplex } from "node:stream";
import { closeQuietly } from "../system/connection.ts";
import type { EngineAccess } from "./engine.ts";
import { connectingFaultOf, EngineFault } from "./faults.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import { ReplyBounds } from "./replies.ts";

const READ_BYTES = 64 * 1024;
const BYTES = { perSecond: 4_000_000, capacity: 16_000_000 };
const PORT = 6379;

/** Where the engine listens. */
export function placeOf(url: string): { readonly hostname: string; readonly port: number } {
  const { hostname, port } = new URL(url);
  return { hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port || PORT) };
}

/** Connects, with TLS where the URL says so; throws `EngineFault`, within `withinMs`. */
export async function connectTo(
  { url, trust }: Pick<EngineAccess, "url" | "trust">,
  withinMs: number,
): Promise<EngineStream> {
  let tcp: Deno.Conn | undefined;
  let isLate = false;
  const opening = async () => {
    const { hostname, port } = placeOf(url);
    const connection = tcp = await Deno.connect({ hostname, port });
    if (isLate) closeQuietly(tcp);
    connection.setNoDelay(true);
    if (!url.startsWith("rediss:")) return connection;
    const caCerts = trust === undefined ? [] : [trust];
    const tls = tcp = await Deno.startTls(connection, { hostname, caCerts });
    await tls.handshake();
    return tls;
  };
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    isLate = true;
    late.reject(new EngineFault("late"));
    if (tcp) closeQuietly(tcp);
  }, withinMs);
  try {
    return new EngineStream(await Promise.race([opening(), late.promise]));
  } catch (cause) {
    if (tcp) closeQuietly(tcp);
    throw new EngineFault(connectingFaultOf(cause));
  } finally {
    clearTimeout(timer);
  }
}

/** Ends with an error where a reply is beyond the bounds, and where more comes than was asked for. */
export class EngineStream extends Duplex {
  readonly #connection: Deno.Conn;
  readonly #bounds = new ReplyBounds();
  readonly #bytes = new TokenBucket(BYTES);
  /** Commands have the form of replies. */
  readonly #commands = new ReplyBounds();
  /** Why it ended. */
  fault: EngineFault | undefined;

  constructor(connection: Deno.Conn) {
    super();
    this.#connection = connection;
  }

  /** The library calls it. openme pings. */
  setKeepAlive(): void {}

  override _read(): void {
    this.#readOnce().then((bytes) => this.push(bytes), (cause) => this.destroy(cause));
  }

  async #readOnce(): Promise<Uint8Array> {
    const buffer = new Uint8Array(READ_BYTES);
    const size = await this.#connection.read(buffer).catch(() => null);
    if (size === null) throw new EngineFault("lost");
    const bytes = buffer.subarray(0, size);
    if (!this.#bounds.takes(bytes)) throw new EngineFault("protocol");
    // The library throws where an unasked reply is null, and nothing could catch that.
    const isFlood = this.#bounds.replies > this.#commands.replies ||
      this.#bytes.take(size, performance.now()) < size;
    if (isFlood) throw new EngineFault("flood");
    return bytes;
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (cause?: Error) => void): void {
    this.#commands.takes(chunk);
    this.#writeAll(chunk).then(() => done(), () => done(new EngineFault("lost")));
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  override _destroy(cause: Error | null, done: (cause: Error | null) => void): void {
    if (cause instanceof EngineFault) this.fault ??= cause;
    closeQuietly(this.#connection);
    done(cause);
  }
}
