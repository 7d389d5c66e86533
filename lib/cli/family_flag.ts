/** The flags `-4` and `-6`. */

import type { Arguments } from "./context.ts";
import { OpenmeError } from "../values/errors.ts";

/** The one family to use, where the flags limit it. */
export function readFamily({ values }: Arguments): 4 | 6 | undefined {
  if (values["ipv4"] && values["ipv6"]) {
    throw new OpenmeError("USAGE", "-4 and -6 exclude each other", {
      hint: "leave out both to knock over both",
    });
  }
  return values["ipv4"] ? 4 : values["ipv6"] ? 6 : undefined;
}
