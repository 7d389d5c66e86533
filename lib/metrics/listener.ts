/** Serves the metrics over HTTP: `GET /metrics`, and nothing else. Sizes, times and numbers are bounded. */

import type { MetricsAddress } from "../config/metrics.ts";
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

/** Listens; connections wait in the kernel until {@linkcode serveMetrics}. Throws where another program has the port. */
export function bindMetrics(address: MetricsAddress): Deno.Listener {
  return address.transport === "tcp" ? Deno.listen(address) : bindSocket(address.path);
}

/**
 * A socket file of mode 0660: for its owner and group. In a folder with the set-group-ID bit the file gets the folder's
 * group, so the administrator says who else may read. The file of a dead server is replaced, any other file is not.
 */
function bindSocket(path: string): Deno.Listener {
  if (isSocket(path)) Deno.removeSync(path);
  const listener = Deno.listen({ transport: "unix", path });
  Deno.chmodSync(path, 0o660);
  return listener;
}

function isSocket(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSocket === true;
  } catch {
    return false;
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
