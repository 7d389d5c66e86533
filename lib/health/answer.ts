/** What the health listener answers over HTTP: a report, as JSON or as a page. */

import { formatResponse, parseHead } from "../system/http.ts";
import { type HealthReport, reportToJson } from "../values/health_report.ts";
import { escapeUnprintable } from "../values/text.ts";
import { healthPage, type PageParts } from "./page.ts";

/** The whole HTTP response to a request, of which `head` is all before the blank line. */
export function respond(
  head: string,
  report: HealthReport,
  parts: Omit<PageParts, "nonce">,
): string {
  const { method, path, headers } = parseHead(head);
  const reply = (status: string, type: string, body: string, extra: readonly string[] = []) =>
    formatResponse(status, body, { type, method, nowMs: report.nowMs, headers: extra });
  if (!method) return reply("400 Bad Request", "text/plain", "not an HTTP request\n");
  if (method !== "GET" && method !== "HEAD") {
    return reply("405 Method Not Allowed", "text/plain", "only GET\n", ["Allow: GET, HEAD"]);
  }
  if (path !== "/") return reply("404 Not Found", "text/plain", "there is only /\n");
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
