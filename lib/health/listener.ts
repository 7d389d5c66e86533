/**
 * The health listener: tells an address that holds a grant what it holds. It listens only while some grant opens the
 * health port, and closes every other connection unanswered: the firewall guards the port, this is the second lock. One
 * request a connection; sizes, times and numbers are bounded.
 */

import { pause } from "../system/clock.ts";
import { type Address, formatAddress, parseAddress, sameAddress } from "../values/address.ts";
import type { Clock } from "../values/moment.ts";
import type { Grant } from "../grants.ts";
import { closeQuietly, writeText } from "../system/connection.ts";
import { errorFields, type Log } from "../system/log.ts";
import type { Running } from "../server.ts";
import { reportOn, respond } from "./answer.ts";

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
/** How often it checks whether a grant for the health port is left. */
const TICK_MS = 500;

/** What the listener works with. */
export interface HealthParts {
  readonly running: Running;
  /** Addresses to listen on: `::`, and `0.0.0.0` too where `::` takes no IPv4. */
  readonly wildcards: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** @default {HEALTH_LIMITS} */
  readonly limits?: HealthLimits;
}

/** Listens while a grant opens the health port, until `signal` aborts. */
export function keepHealthListener(parts: HealthParts): void {
  const health = new Health(parts);
  const tend = () => health.tend();
  parts.running.onOpened(({ grant }) => health.opened(grant));
  const timer = setInterval(tend, TICK_MS);
  parts.signal.addEventListener("abort", () => {
    clearInterval(timer);
    health.stop();
  }, { once: true });
  tend();
}

class Health {
  readonly #parts: HealthParts;
  readonly #limits: HealthLimits;
  readonly #connections = new Map<Deno.Conn, Address>();
  #listeners: Deno.TcpListener[] = [];
  #port: number | undefined;
  /** The port that could not be opened, so that it is logged once. */
  #unavailable: number | undefined;

  constructor(parts: HealthParts) {
    this.#parts = parts;
    this.#limits = parts.limits ?? HEALTH_LIMITS;
  }

  /** Starts or stops listening, as the current grants ask for. */
  tend(): void {
    const { running } = this.#parts;
    let wanted: number | undefined;
    for (const grant of running.grants()) {
      if (!this.#concerns(grant)) continue;
      wanted = running.config().healthPort;
      break;
    }
    if (wanted === this.#port) return;
    this.#close();
    if (wanted !== undefined) this.#listen(wanted);
    else this.#unavailable = undefined;
  }

  /** Called for each new or renewed grant. */
  opened(grant: Grant): void {
    if (this.#port === undefined && this.#concerns(grant)) this.tend();
  }

  stop(): void {
    this.#close();
    for (const connection of this.#connections.keys()) this.#drop(connection);
  }

  #concerns({ ports, endsSteadyMs }: Grant): boolean {
    const { running, clock } = this.#parts;
    const { healthPort } = running.config();
    return endsSteadyMs > clock.now().steadyMs &&
      ports.some(({ protocol, first, last }) =>
        protocol === "tcp" && first <= healthPort && healthPort <= last
      );
  }

  #listen(port: number): void {
    const { wildcards, log } = this.#parts;
    try {
      for (const hostname of wildcards) {
        const listener = listenOn(hostname, port);
        this.#listeners.push(listener);
        this.#acceptAll(listener);
      }
      this.#port = port;
    } catch (error) {
      this.#close();
      if (this.#unavailable !== port) {
        log.warn("health_unavailable", { port, ...errorFields(error) });
      }
      this.#unavailable = port;
    }
  }

  #close(): void {
    for (const listener of this.#listeners) listener.close();
    this.#listeners = [];
    this.#port = undefined;
  }

  async #acceptAll(listener: Deno.TcpListener): Promise<void> {
    while (this.#listeners.includes(listener)) {
      try {
        const connection = await listener.accept();
        const address = parseAddress(connection.remoteAddr.hostname);
        if (address && this.#hasRoom(address) && this.#grantsOf(address).length > 0) {
          this.#answer(connection, address);
        } else {
          connection.close();
        }
      } catch {
        if (!this.#listeners.includes(listener)) return;
        // The connection was gone before accept, or the process is out of descriptors: do not spin.
        await pause(100);
      }
    }
  }

  #hasRoom(address: Address): boolean {
    const here = [...this.#connections.values()].filter((each) => sameAddress(each, address));
    return this.#connections.size < this.#limits.connections &&
      here.length < this.#limits.perAddress;
  }

  #grantsOf(address: Address): Grant[] {
    return this.#parts.running.grantsAt(address).filter((grant) => this.#concerns(grant));
  }

  async #answer(connection: Deno.Conn, address: Address): Promise<void> {
    this.#connections.set(connection, address);
    const timer = setTimeout(() => this.#drop(connection), this.#limits.connectionMs);
    try {
      const head = await readHead(connection, this.#limits.requestBytes);
      const grants = this.#grantsOf(address);
      // Again: the grant may have ended meanwhile.
      if (head === undefined || grants.length === 0) return;
      const { clock, running, log } = this.#parts;
      const { healthPort, host, knockTimeoutMs } = running.config();
      const report = reportOn(address, grants, clock.now(), {
        healthPort,
        isRefused: (grant) => running.isRefused(grant),
        knocksOf: (grant) => running.knocksOf(grant),
      });
      const parts = { server: host ?? localAddress(connection), lifetimeMs: knockTimeoutMs };
      await writeText(connection, respond(head, report, parts));
      log.debug("health_asked", { address: formatAddress(address) });
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
