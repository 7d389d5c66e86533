/** What a command's help says of each of its flags, taken out of the text itself: completion and man page say the same. */

import type { Command } from "./context.ts";
import { GLOBAL_HELP, GLOBAL_OPTIONS } from "./context.ts";

/** One flag as people see it. */
export interface FlagText {
  /** Without the dashes. */
  readonly name: string;
  readonly short: string | undefined;
  /** What its value is called in the help, such as `FILE`; `undefined` where it takes none. */
  readonly value: string | undefined;
  /** The first line of what it does. */
  readonly text: string;
}

/** The flags of a command in the order of its help, the global ones last. */
export function flagTextsOf({ help, options }: Pick<Command, "help" | "options">): FlagText[] {
  return [
    ...Object.entries(options).map(([name, option]) => read(help, name, option)),
    ...Object.entries(GLOBAL_OPTIONS).map(([name, option]) => read(GLOBAL_HELP, name, option)),
  ];
}

function read(
  help: string,
  name: string,
  { type, short }: { readonly type: string; readonly short?: string },
): FlagText {
  for (const line of help.split("\n")) {
    const [, flags, text] = /^ {2}(-\S+(?:,? \S+)*?) {2,}(.*)$/.exec(line) ?? [];
    if (flags === undefined || text === undefined) continue;
    const words = flags.split(/,? /);
    const at = words.findIndex((word) => word === `--${name}` || (short && word === `-${short}`));
    if (at < 0) continue;
    return { name, short, value: type === "string" ? words[at + 1] ?? "VALUE" : undefined, text };
  }
  return { name, short, value: type === "string" ? "VALUE" : undefined, text: "" };
}
