/**
 * The health listener: tells an address that holds a grant what it holds. It listens only while some grant opens the
 * health port, and answers nobody else; the firewall guards the port like any other, this is the second lock. Enough
 * HTTP for a browser and for `openme status`, and not a byte more: one request a connection, everything bounded.
 */

import { type Address, formatAddress, parseAddress, sameAddress } from "../values/address.ts";
import { type Clock, wallMsOf } from "../values/moment.ts";
import { hexToBytes } from "../crypto/keys.ts";
import { fingerprint } from "../crypto/sync.ts";
import type { Grant } from "../grants.ts";
import { healthPage, type PageParts } from "./page.ts";
import { type HealthReport, type RecentKnock, reportToJson } from "../values/health_report.ts";
import { errorFields, type Log } from "../system/log.ts";
import { formatPortRange, type PortRange, subtractPortRanges } from "../values/ports.ts";
import { escapeUnprintable } from "../values/text.ts";
import type { Running } from "../server.ts";

/** What whoever is let in can make the listener hold. */
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
/** How often it looks whether a grant is left. */
const TICK_MS = 500;

/** What the listener works with. */
export interface HealthParts {
  readonly running: Running;
  /** One wildcard for both families where the system has such, else two. */
  readonly wildcards: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** @default {HEALTH_LIMITS} */
  readonly limits?: HealthLimits;
}

/** Listens while there is something to tell, until `signal` aborts. */
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
  /** The port that could not be had, so that it is told once. */
  #refused: number | undefined;

  constructor(parts: HealthParts) {
    this.#parts = parts;
    this.#limits = parts.limits ?? HEALTH_LIMITS;
  }

  /** Listens, or stops listening, as the grants of now ask for. */
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
    else this.#refused = undefined;
  }

  /** There is one more grant, or a renewed one: nothing to look for while it listens already. */
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
      if (this.#refused !== port) log.warn("health_unavailable", { port, ...errorFields(error) });
      this.#refused = port;
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
        // A connection that was gone before it was taken; out of descriptors, it must not spin.
        await new Promise((resolve) => setTimeout(resolve, 100));
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
      // Its grant may have ended while it was asking.
      if (head === undefined || grants.length === 0) return;
      const { clock, running, log } = this.#parts;
      const now = clock.now();
      const moment = { wallMs: wallMsOf(now), steadyMs: now.steadyMs };
      const { healthPort } = running.config();
      const report = reportOn(address, grants, moment, (grant) => ({
        fingerprint: fingerprint(hexToBytes(grant.key)),
        ports: withoutHealthPort(grant, healthPort),
        isRefused: running.isRefused(grant),
        knocks: running.knocksOf(grant),
      }));
      const { host, knockTimeoutMs } = running.config();
      const parts = { server: host ?? localAddress(connection), lifetimeMs: knockTimeoutMs };
      const bytes = new TextEncoder().encode(respond(head, report, parts));
      for (let written = 0; written < bytes.length;) {
        written += await connection.write(bytes.subarray(written));
      }
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
    try {
      connection.close();
    } catch {
      // Closed already.
    }
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

/** The address that a client asked, as a text that is safe to show. */
function localAddress(connection: Deno.Conn): string {
  const address = parseAddress((connection.localAddr as Deno.NetAddr).hostname);
  return address === undefined ? "this server" : formatAddress(address);
}

/** The health port comes with every grant: nobody asked for it. */
function withoutHealthPort({ ports }: Grant, healthPort: number): PortRange[] {
  const health: PortRange = { protocol: "tcp", first: healthPort, last: healthPort };
  return subtractPortRanges(ports, [health]);
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

/** The whole answer to a request. */
export function respond(
  head: string,
  report: HealthReport,
  parts: Omit<PageParts, "nonce">,
): string {
  const [requestLine = "", ...headers] = head.split("\r\n");
  const match = /^(\S+) (\S+) HTTP\/1\.[01]$/.exec(requestLine);
  const method = match?.[1];
  const reply = (status: string, type: string, body: string, extra: readonly string[] = []) =>
    [
      `HTTP/1.1 ${status}`,
      `Date: ${new Date(report.nowMs).toUTCString()}`,
      `Content-Type: ${type}; charset=utf-8`,
      `Content-Length: ${new TextEncoder().encode(body).length}`,
      "Cache-Control: no-store",
      "X-Content-Type-Options: nosniff",
      "Connection: close",
      ...extra,
      "",
      method === "HEAD" ? "" : body,
    ].join("\r\n");
  if (!match) return reply("400 Bad Request", "text/plain", "not an HTTP request\n");
  if (method !== "GET" && method !== "HEAD") {
    return reply("405 Method Not Allowed", "text/plain", "only GET\n", ["Allow: GET, HEAD"]);
  }
  if (match[2] !== "/") return reply("404 Not Found", "text/plain", "there is only /\n");
  const accept = headers.map((header) => /^accept: *(.*)$/i.exec(header)?.[1]).find(Boolean);
  if (accept?.includes("text/html")) {
    const nonce = crypto.randomUUID();
    return reply("200 OK", "text/html", healthPage(report, { ...parts, nonce }), [
      "Vary: Accept",
      `Content-Security-Policy: default-src 'none'; style-src 'nonce-${nonce}'; ` +
      `script-src 'nonce-${nonce}'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`,
      "Referrer-Policy: no-referrer",
    ]);
  }
  const body = escapeUnprintable(JSON.stringify(reportToJson(report))) + "\n";
  return reply("200 OK", "application/json", body, ["Vary: Accept"]);
}

/** What is to be told of a grant. */
export interface GrantStory {
  /** Of its client's key. */
  readonly fingerprint: string;
  /** What its holder asked for. */
  readonly ports: readonly PortRange[];
  /** Its firewall has refused it so far. */
  readonly isRefused: boolean;
  /** Its latest knocks, the oldest first. */
  readonly knocks: readonly RecentKnock[];
}

/** The report for an address; `wallMs` and `steadyMs` are the server's clocks. */
export function reportOn(
  address: Address,
  grants: readonly Grant[],
  { wallMs, steadyMs }: { wallMs: number; steadyMs: number },
  storyOf: (grant: Grant) => GrantStory,
): HealthReport {
  return {
    address: formatAddress(address),
    nowMs: wallMs,
    grants: grants.map((grant) => {
      const { fingerprint, ports, isRefused, knocks } = storyOf(grant);
      return {
        client: grant.client,
        fingerprint,
        ports: ports.map(formatPortRange),
        openedAtMs: grant.openedAtMs,
        expiresAtMs: grant.expiresAtMs,
        leftMs: Math.max(0, Math.round(grant.endsSteadyMs - steadyMs)),
        knocks,
        ...(isRefused ? { failed: true } : {}),
      };
    }),
  };
}
