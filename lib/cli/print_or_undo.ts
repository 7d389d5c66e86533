/** What is printed of a change that was made: where that fails, on a full disk or into a broken pipe, it is undone. */

import { messageOf, OpenmeError } from "../values/errors.ts";
import type { Context } from "./context.ts";

/** Prints; throws, code `OUTPUT`, where that fails, and says whether it could be undone. */
export async function printOrUndo(
  text: string,
  { stdout }: Context,
  { what, undo }: { readonly what: string; readonly undo: () => Promise<void> },
): Promise<void> {
  try {
    stdout(text);
  } catch (cause) {
    const problem = `cannot print ${what}: ${messageOf(cause)}`;
    await undo().catch((error) => {
      throw new OpenmeError("OUTPUT", `${problem}; nor could it be undone: ${messageOf(error)}`, {
        hint: "the change is made: look at the file",
        cause,
      });
    });
    throw new OpenmeError("OUTPUT", `${problem}; nothing has changed`, {
      hint: "see where standard output goes",
      cause,
    });
  }
}
