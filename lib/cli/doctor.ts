/**
 * What a doctor says: findings, each good, doubtful or wrong, and what to do about it. Pure; who looks is in
 * `cli/doctor_server.ts` and `cli/doctor_client.ts`.
 */

import { OpenmeError } from "../values/errors.ts";

/** One thing that was looked at. */
export interface Finding {
  readonly level: "ok" | "warn" | "fail";
  /** A word for what was looked at, such as `clock`. */
  readonly what: string;
  readonly found: string;
  /** What to do; always there unless all is well. */
  readonly hint?: string;
}

export function ok(what: string, found: string): Finding {
  return { level: "ok", what, found };
}

export function warn(what: string, found: string, hint: string): Finding {
  return { level: "warn", what, found, hint };
}

export function fail(what: string, found: string, hint: string): Finding {
  return { level: "fail", what, found, hint };
}

/** What an error says to do, or else this. */
export function hintOf(error: unknown, otherwise: string): string {
  return (error instanceof OpenmeError ? error.hint : undefined) ?? otherwise;
}

/** A line for each finding, and one more for what to do; `paint` may put the level in a colour. */
export function renderFindings(
  findings: readonly Finding[],
  paint: (level: Finding["level"], text: string) => string = (_, text) => text,
): string {
  const width = Math.max(0, ...findings.map(({ what }) => what.length));
  return findings.map(({ level, what, found, hint }) =>
    `${paint(level, level.padEnd(4))}  ${what.padEnd(width)}  ${found}\n` +
    (hint === undefined ? "" : `${" ".repeat(8 + width)}-> ${hint}\n`)
  ).join("");
}
