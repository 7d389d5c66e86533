/** What people see on standard output: tables, the findings of a doctor, colours. */

import { OpenmeError } from "../values/errors.ts";
import type { Context } from "./context.ts";

/** The rows under their head; every cell must be fit to print. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  return all.map((row) =>
    row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd() + "\n"
  ).join("");
}

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

const CODES = { red: 31, green: 32, yellow: 33 } as const;
export type Colour = keyof typeof CODES;

/** Puts a text in a colour, or leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;

export function paintFor({ env }: Pick<Context, "env">): Paint {
  if (env("NO_COLOR") || !Deno.stdout.isTerminal()) return (_, text) => text;
  return (colour, text) => `\x1b[${CODES[colour]}m${text}\x1b[0m`;
}
