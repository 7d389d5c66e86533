/**
 * Asks a server's health port who is let in here: one HTTP request over a given connection. `fetch` would follow proxies
 * and redirects.
 */

import type { Connection } from "./bound_connection.ts";
import { closeQuietly } from "./dial.ts";
import { type HealthReport, reportFromJson } from "../values/health_report.ts";

/** A grant takes some hundred bytes, and an address may have many. */
const MOST_BYTES = 256 * 1024;

/** The answer, with the server's time. */
export interface HealthAnswer {
  readonly report: HealthReport;
  /** The server's `Date` header, ms since 1970, whole seconds; `undefined` where it sent none. */
  readonly dateMs: number | undefined;
}

/** Asks, and closes the connection. `undefined` where another program answers, or the answer takes too long. */
export async function askHealth(
  connection: Connection,
  timeoutMs: number,
): Promise<HealthAnswer | undefined> {
  const timer = setTimeout(() => connection.close(), timeoutMs);
  try {
    const request = "GET / HTTP/1.1\r\nHost: openme\r\nAccept: application/json\r\n" +
      "Connection: close\r\n\r\n";
    await connection.write(new TextEncoder().encode(request));
    return parseAnswer(await readAll(connection));
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
    closeQuietly(connection);
  }
}

/** Reads an HTTP/1.1 answer whose body ends with the connection. */
export function parseAnswer(text: string): HealthAnswer | undefined {
  const end = text.indexOf("\r\n\r\n");
  const [statusLine, ...headers] = text.slice(0, Math.max(0, end)).split("\r\n");
  if (end < 0 || !/^HTTP\/1\.[01] 200\b/.test(statusLine ?? "")) return undefined;
  const report = reportFromJson(text.slice(end + 4));
  const date = headers.map((header) => /^date: *(.{1,40})$/i.exec(header)?.[1]).find(Boolean);
  const dateMs = date === undefined ? NaN : Date.parse(date);
  return report && { report, dateMs: Number.isNaN(dateMs) ? undefined : dateMs };
}

async function readAll(connection: Connection): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(16 * 1024);
  let text = "";
  while (text.length < MOST_BYTES) {
    const size = await connection.read(buffer);
    if (size === null) return text + decoder.decode();
    text += decoder.decode(buffer.subarray(0, size), { stream: true });
  }
  throw new RangeError("the answer is too long");
}
