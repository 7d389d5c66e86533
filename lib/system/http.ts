/**
 * One HTTP request of each connection, and one answer. Sizes, times and numbers are bounded, so that clients that are slow,
 * silent or many hold nothing up. What a request means is for the caller to say.
 */

import { formatAddress, parseAddress } from "../values/address.ts";
import { pause } from "./clock.ts";
import { closeQuietly, writeText } from "./connection.ts";

/** Bounds on what clients can make a listener hold. */
export interface HttpLimits {
  readonly connections: number;
  /** Of one address; clients of a Unix socket are one. */
  readonly perAddress: number;
  readonly requestBytes: number;
  /** How long one connection may take in all. */
  readonly connectionMs: number;
}

/** A port or socket that is listened on. */
export interface Listening {
  /** Stops listening, and cuts the connections. */
  close(): void;
  /** Resolves where the listening has ended, by itself or by `close`; without it only `close` ends it. */
  readonly ended?: Promise<void>;
}

/** Who may ask, and what is answered: `undefined` closes the connection without an answer. */
export interface HttpSource {
  /** Before anything is read. Without it everyone may ask. */
  readonly admits?: (connection: Deno.Conn) => Promise<boolean>;
  /** `head`: the request, all before the blank line. */
  readonly answer: (head: string, connection: Deno.Conn) => Promise<string | undefined>;
}

/** Answers on these listeners until it is closed. */
export function serveHttp(
  listeners: readonly Deno.Listener[],
  source: HttpSource,
  limits: HttpLimits,
): Listening {
  return new HttpListener(listeners, source, limits);
}

class HttpListener implements Listening {
  readonly #listeners: readonly Deno.Listener[];
  readonly #source: HttpSource;
  readonly #limits: HttpLimits;
  /** Each with the text of its client's address. */
  readonly #connections = new Map<Deno.Conn, string>();
  #isClosed = false;

  constructor(listeners: readonly Deno.Listener[], source: HttpSource, limits: HttpLimits) {
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

  async #acceptAll(listener: Deno.Listener): Promise<void> {
    while (!this.#isClosed) {
      try {
        const connection = await listener.accept();
        const client = clientOf(connection);
        if (client !== undefined && this.#hasRoom(client)) this.#answer(connection, client);
        else connection.close();
      } catch {
        // The connection was gone before accept, or the process is out of descriptors: do not spin.
        if (!this.#isClosed) await pause(100);
      }
    }
  }

  #hasRoom(client: string): boolean {
    const here = [...this.#connections.values()].filter((each) => each === client);
    return this.#connections.size < this.#limits.connections &&
      here.length < this.#limits.perAddress;
  }

  async #answer(connection: Deno.Conn, client: string): Promise<void> {
    this.#connections.set(connection, client);
    const timer = setTimeout(() => this.#drop(connection), this.#limits.connectionMs);
    try {
      if (await this.#source.admits?.(connection) === false) return;
      const head = await readHead(connection, this.#limits.requestBytes);
      if (head === undefined) return;
      const answer = await this.#source.answer(head, connection);
      if (answer !== undefined) await writeText(connection, answer);
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

/** The address of the other side as text, "" for a Unix socket; `undefined` where it cannot be read. */
function clientOf({ remoteAddr }: Deno.Conn): string | undefined {
  if (remoteAddr.transport !== "tcp") return "";
  const address = parseAddress(remoteAddr.hostname);
  return address && formatAddress(address);
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

/** A request line, and the lines of the header. `method` and `path` are `undefined` where it is no HTTP/1 request. */
export function parseHead(head: string): {
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly headers: readonly string[];
} {
  const [requestLine = "", ...headers] = head.split("\r\n");
  const [, method, path] = /^(\S+) (\S+) HTTP\/1\.[01]$/.exec(requestLine) ?? [];
  return { method, path, headers };
}

/** What a response says beside its status and body. */
export interface ResponseParts {
  readonly type: string;
  /** The method that is answered: to HEAD no body is sent. */
  readonly method: string | undefined;
  readonly nowMs: number;
  readonly headers?: readonly string[];
}

/** The whole text of a response, after which the connection ends. */
export function formatResponse(
  status: string,
  body: string,
  { type, method, nowMs, headers = [] }: ResponseParts,
): string {
  return [
    `HTTP/1.1 ${status}`,
    `Date: ${new Date(nowMs).toUTCString()}`,
    `Content-Type: ${type}; charset=utf-8`,
    `Content-Length: ${new TextEncoder().encode(body).length}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Connection: close",
    ...headers,
    "",
    method === "HEAD" ? "" : body,
  ].join("\r\n");
}
