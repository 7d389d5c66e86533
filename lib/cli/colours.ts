/** Colours on standard output: on a terminal, unless NO_COLOR is set (no-color.org). */

import type { Context } from "./context.ts";

const CODES = { red: 31, green: 32, yellow: 33 } as const;
export type Colour = keyof typeof CODES;

/** Puts a text in a colour, or leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;

export function paintFor({ env }: Pick<Context, "env">): Paint {
  if (env("NO_COLOR") || !Deno.stdout.isTerminal()) return (_, text) => text;
  return (colour, text) => `\x1b[${CODES[colour]}m${text}\x1b[0m`;
}
