/** The steps of a change: where a later one fails, the earlier ones are undone. */

import { messageOf, OpenmeError } from "../values/errors.ts";
import type { Context } from "./context.ts";

/** A file that is to be made. */
export type NewFile = readonly [path: string, content: string | Uint8Array];

/** Makes the files, then does the rest; where either fails, removes them. */
export async function withNewFiles(
  files: readonly NewFile[],
  make: (...file: NewFile) => Promise<void>,
  rest: () => Promise<void>,
): Promise<void> {
  const made: string[] = [];
  try {
    for (const file of files) {
      await make(...file);
      made.push(file[0]);
    }
    await rest();
  } catch (cause) {
    for (const path of made) await Deno.remove(path).catch(() => {});
    throw cause;
  }
}

/**
 * Prints the result of a change. Where that fails, on a full disk or into a broken pipe, undoes the change and throws,
 * code `OUTPUT`; the error says whether it could be undone.
 */
export async function printOrUndo(
  text: string,
  { stdout }: Context,
  {
    what,
    undo,
    hint = "see where standard output goes",
    doneHint = "the change is made: look at the file",
  }: {
    readonly what: string;
    readonly undo: () => Promise<void>;
    readonly hint?: string;
    /** What to do where the change could not be undone. */
    readonly doneHint?: string;
  },
): Promise<void> {
  try {
    stdout(text);
  } catch (cause) {
    const problem = `cannot print ${what}: ${messageOf(cause)}`;
    await undo().catch((error) => {
      throw new OpenmeError("OUTPUT", `${problem}; nor could it be undone: ${messageOf(error)}`, {
        hint: doneHint,
        cause,
      });
    });
    throw new OpenmeError("OUTPUT", `${problem}; nothing has changed`, { hint, cause });
  }
}
