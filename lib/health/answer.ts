/** What the health listener answers: a report on the grants of one address, over HTTP, as JSON or as a page. */

import { type Address, formatAddress } from "../values/address.ts";
import { type HealthReport, type RecentKnock, reportToJson } from "../values/health_report.ts";
import { type Moment, wallMsOf } from "../values/moment.ts";
import { shownPorts } from "../values/ports.ts";
import { escapeUnprintable } from "../values/text.ts";
import { hexToBytes } from "../crypto/keys.ts";
import { fingerprint } from "../crypto/sync.ts";
import type { Grant } from "../grants.ts";
import { healthPage, type PageParts } from "./page.ts";

/** What a report takes from the server, beside the grants. */
export interface ReportParts {
  readonly healthPort: number;
  /** Whether the firewall has refused the grant so far. */
  readonly isRefused: (grant: Grant) => boolean;
  /** The latest knocks for the grant, the oldest first. */
  readonly knocksOf: (grant: Grant) => readonly RecentKnock[];
}

/** The report on the grants of an address. What is left of them is measured on the steady clock. */
export function reportOn(
  address: Address,
  grants: readonly Grant[],
  now: Moment,
  { healthPort, isRefused, knocksOf }: ReportParts,
): HealthReport {
  return {
    address: formatAddress(address),
    nowMs: wallMsOf(now),
    grants: grants.map((grant) => ({
      client: grant.client,
      fingerprint: fingerprint(hexToBytes(grant.key)),
      ports: shownPorts(grant.ports, healthPort),
      openedAtMs: grant.openedAtMs,
      expiresAtMs: grant.expiresAtMs,
      leftMs: Math.max(0, Math.round(grant.endsSteadyMs - now.steadyMs)),
      knocks: knocksOf(grant),
      ...(isRefused(grant) ? { failed: true } : {}),
    })),
  };
}

/** The whole HTTP response to a request, of which `head` is all before the blank line. */
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
