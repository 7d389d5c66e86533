/**
 * The health listener: reads one HTTP request of each connection to the health port, and answers it with what the address
 * holds. Connections of an address without a grant are closed unanswered: the firewall guards the port, this is the
 * second lock. It has no grants of its own, and asks a {@linkcode HealthSource}.
 */

import { type HttpLimits, type Listening, serveHttp } from "../system/http.ts";
import { type Address, formatAddress, parseAddress } from "../values/address.ts";
import type { HealthReport } from "../values/health_report.ts";
import { respond } from "./answer.ts";

export const HEALTH_LIMITS: HttpLimits = {
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

/** Answers on these listeners until it is closed. */
export function serveHealth(
  listeners: readonly Deno.TcpListener[],
  source: HealthSource,
  limits: HttpLimits = HEALTH_LIMITS,
): Listening {
  const addressOf = ({ remoteAddr }: Deno.Conn) =>
    parseAddress((remoteAddr as Deno.NetAddr).hostname)!;
  return serveHttp(listeners, {
    admits: (connection) => source.knows(addressOf(connection)),
    // The grant may have ended meanwhile.
    answer: async (head, connection) => {
      const answer = await source.answerFor(addressOf(connection));
      if (!answer) return undefined;
      const { report, host, lifetimeMs } = answer;
      return respond(head, report, { server: host ?? localAddress(connection), lifetimeMs });
    },
  }, limits);
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
