/**
 * The health listener: reads one HTTP request of each connection to the health port, and answers it with what the address
 * holds. Connections of an address without a grant are closed unanswered: the firewall guards the port, this is the
 * second lock. Sizes, times and numbers are bounded. It has no grants of its own, and asks a {@linkcode HealthSource}.
 */

import { pause } from "../system/clock.ts";
import { type Address, formatAddress, parseAddress, sameAddress } from "../values/address.ts";
import type { HealthReport } from "../values/health_report.ts";
import { closeQuietly, writeText } from "../system/connection.ts";
import { respond } from "./answer.ts";

/** Bounds on what addresses with a grant can make the listener hold. */
export interface HealthLimits {
  readonly connections: number;
  readonly perAddress: number;
  readonly requestBytes: number;
  /** How long one connection may take in all. */
  readonly connectionMs: number;
}

export const HEALTH_LIMITS: HealthLimits = {
  connections: 64,
  perAddress: 8,
  requestBytes: 8192,
  connectionMs: 5000,
};

/** What a request is answered with. */
export interface HealthAnswer {
  readonly report: HealthReport;
  /** The server's configured host; without one the page shows the address that the client connected to. */
  readonly host: string | undefined;
  /** The time of a full bar on the page. */
  readonly lifetimeMs: number;
}

/** Who holds a grant for the health port, now. */
export interface HealthSource {
  /** Whether this address does. */
  readonly knows: (address: Address) => Promise<boolean>;
  /** The answer to a request of this address; `undefined` where it holds none. */
  readonly answerFor: (address: Address) => Promise<HealthAnswer | undefined>;
}

/** A health port that is listened on. */
export interface Listening {
  /** Stops listening, and cuts the connections. */
  close(): void;
  /** Resolves where the listening has ended, by itself or by `close`; without it only `close` ends it. */
  readonly ended?: Promise<void>;
}

/** Answers on these listeners until it is closed. */
export function serveHealth(
  listeners: readonly Deno.TcpListener[],
  source: HealthSource,
  limits: HealthLimits = HEALTH_LIMITS,
): Listening {
  return new HealthListener(listeners, source, limits);
}

class HealthListener implements Listening {
  readonly #listeners: readonly Deno.TcpListener[];
  readonly #source: HealthSource;
  readonly #limits: HealthLimits;
  readonly #connections = new Map<Deno.Conn, Address>();
  #isClosed = false;

  constructor(
    listeners: readonly Deno.TcpListener[],
    source: HealthSource,
    limits: HealthLimits,
  ) {
    this.#listeners = listeners;
    this.#source = source;
    this.#limits = limits;
    for (const listener of listeners) this.#acceptAll(listener);
  }

  close(): void {
    this.#isClosed = true;
    for (const listener of this.#listeners) listener.close();
    for (const connection of this.#connections.keys()) this.#drop(connection);
  }

  async #acceptAll(listener: Deno.TcpListener): Promise<void> {
    while (!this.#isClosed) {
      try {
        const connection = await listener.accept();
        const address = parseAddress(connection.remoteAddr.hostname);
        if (address && this.#hasRoom(address)) this.#answer(connection, address);
        else connection.close();
      } catch {
        // The connection was gone before accept, or the process is out of descriptors: do not spin.
        if (!this.#isClosed) await pause(100);
      }
    }
  }

  #hasRoom(address: Address): boolean {
    const here = [...this.#connections.values()].filter((each) => sameAddress(each, address));
    return this.#connections.size < this.#limits.connections &&
      here.length < this.#limits.perAddress;
  }

  async #answer(connection: Deno.Conn, address: Address): Promise<void> {
    this.#connections.set(connection, address);
    const timer = setTimeout(() => this.#drop(connection), this.#limits.connectionMs);
    try {
      if (!await this.#source.knows(address)) return;
      const head = await readHead(connection, this.#limits.requestBytes);
      if (head === undefined) return;
      // The grant may have ended meanwhile.
      const answer = await this.#source.answerFor(address);
      if (!answer) return;
      const { report, host, lifetimeMs } = answer;
      const parts = { server: host ?? localAddress(connection), lifetimeMs };
      await writeText(connection, respond(head, report, parts));
    } catch {
      // It hung up, or took too long.
    } finally {
      clearTimeout(timer);
      this.#drop(connection);
    }
  }

  #drop(connection: Deno.Conn): void {
    this.#connections.delete(connection);
    closeQuietly(connection);
  }
}

/**
 * Binds the port: `wildcards` are `::`, and `0.0.0.0` too where `::` takes no IPv4. Connections wait in the kernel until
 * {@linkcode serveHealth}. Throws where another program has the port.
 */
export function bindHealthPort(port: number, wildcards: readonly string[]): Deno.TcpListener[] {
  const listeners: Deno.TcpListener[] = [];
  try {
    for (const hostname of wildcards) listeners.push(listenOn(hostname, port));
    return listeners;
  } catch (cause) {
    for (const listener of listeners) listener.close();
    throw cause;
  }
}

function listenOn(hostname: string, port: number): Deno.TcpListener {
  try {
    return Deno.listen({ transport: "tcp", hostname, port });
  } catch (cause) {
    // A kernel without IPv6.
    if (hostname !== "::" || cause instanceof Deno.errors.AddrInUse) throw cause;
    return Deno.listen({ transport: "tcp", hostname: "0.0.0.0", port });
  }
}

/** The address that a client connected to, as text. */
function localAddress(connection: Deno.Conn): string {
  const address = parseAddress((connection.localAddr as Deno.NetAddr).hostname);
  return address === undefined ? "this server" : formatAddress(address);
}

/** The head of a request, without its last line break; `undefined` where there is none within the bounds. */
async function readHead(connection: Deno.Conn, mostBytes: number): Promise<string | undefined> {
  const buffer = new Uint8Array(2048);
  let text = "";
  while (text.length < mostBytes) {
    const size = await connection.read(buffer);
    if (size === null) return undefined;
    text += String.fromCharCode(...buffer.subarray(0, size)); // Latin-1, as HTTP's heads are
    const end = text.indexOf("\r\n\r\n");
    if (end >= 0) return text.slice(0, end);
  }
  return undefined;
}
