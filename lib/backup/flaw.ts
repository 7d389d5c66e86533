/** What is wrong with a file that is to be a backup. */

import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** The error for a backup that cannot be read. */
export function flawIn(file: string, why: string, hint?: string): OpenmeError {
  return new OpenmeError("STATE", `cannot read ${quote(file, 1000)}: ${why}`, { hint });
}
