/** Serves the metrics over HTTP: `GET /metrics`, and nothing else. Sizes, times and numbers are bounded. */

import type { MetricsAddress } from "../config/metrics.ts";
import { pause } from "../system/clock.ts";
import {
  formatResponse,
  type HttpLimits,
  type Listening,
  parseHead,
  serveHttp,
} from "../system/http.ts";

export const METRICS_LIMITS: HttpLimits = {
  connections: 32,
  perAddress: 8,
  requestBytes: 8192,
  connectionMs: 5000,
};

/** How long a server that is about to end may still have the address. */
const FORMER_MS = 1000;

/** Prometheus' text format. */
const TYPE = "text/plain; version=0.0.4";

/** The text of the metrics; `undefined` while there is none yet. */
export type Render = () => Promise<string | undefined>;

/** Answers with what `render` gives, until it is closed. */
export function serveMetrics(
  listeners: readonly Deno.Listener[],
  render: Render,
  limits: HttpLimits = METRICS_LIMITS,
): Listening {
  return serveHttp(listeners, { answer: (head) => respond(head, render) }, limits);
}

/**
 * Listens; connections wait in the kernel until {@linkcode serveMetrics}. The server before this one may have the address
 * for a second more. Throws where another program has it.
 */
export async function bindMetrics(address: MetricsAddress): Promise<Deno.Listener> {
  const endMs = performance.now() + FORMER_MS;
  for (;;) {
    try {
      return address.transport === "tcp" ? Deno.listen(address) : await bindSocket(address.path);
    } catch (cause) {
      if (!(cause instanceof Deno.errors.AddrInUse) || performance.now() > endMs) throw cause;
    }
    await pause(50);
  }
}

/**
 * A socket file of mode 0660: for its owner and group. In a folder with the set-group-ID bit the file gets the folder's
 * group, so the administrator says who else may read.
 */
async function bindSocket(path: string): Promise<Deno.Listener> {
  if (await isDeadSocket(path)) await Deno.remove(path);
  const listener = Deno.listen({ transport: "unix", path });
  Deno.chmodSync(path, 0o660);
  return listener;
}

/** Whether a socket of that name was left by a program that has ended. */
async function isDeadSocket(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return false;
  } catch (cause) {
    return cause instanceof Deno.errors.ConnectionRefused &&
      (await Deno.lstat(path)).isSocket === true;
  }
}

/** The whole HTTP response to a request, of which `head` is all before the blank line. */
async function respond(head: string, render: Render): Promise<string> {
  const { method, path } = parseHead(head);
  const reply = (status: string, body: string, headers: readonly string[] = []) =>
    formatResponse(status, body, { type: TYPE, method, nowMs: Date.now(), headers });
  if (!method) return reply("400 Bad Request", "not an HTTP request\n");
  if (method !== "GET") return reply("405 Method Not Allowed", "only GET\n", ["Allow: GET"]);
  if (path !== "/metrics") return reply("404 Not Found", "there is only /metrics\n");
  const text = await render();
  return text === undefined
    ? reply("503 Service Unavailable", "openme is starting\n")
    : reply("200 OK", text);
}
