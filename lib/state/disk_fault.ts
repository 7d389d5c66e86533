/**
 * Whether it is the disk that fails, or the operator who is mistaken: the first must keep nobody out, the second must be
 * told at once.
 */

import { join } from "node:path";
import { messageOf } from "../values/errors.ts";
import { PROBE_NAME } from "./names.ts";

/** What SQLite needs before it writes its first row. */
const PROBE_SIZE = 65_536;
/** Full, over quota, read-only, broken. */
const FAULTS = ["ENOSPC", "EDQUOT", "EROFS", "EIO"];

/** Why nothing can be written to a directory that is there; `undefined` where it can, or where it is not the disk. */
export function diskFault(
  dir: string,
  { size = PROBE_SIZE }: { size?: number | undefined } = {},
): string | undefined {
  const path = join(dir, PROBE_NAME);
  try {
    Deno.writeFileSync(path, new Uint8Array(size), { mode: 0o600 });
    return undefined;
  } catch (cause) {
    const code = (cause as { code?: string }).code;
    return code !== undefined && FAULTS.includes(code) ? messageOf(cause) : undefined;
  } finally {
    try {
      Deno.removeSync(path);
    } catch {
      // It was never there.
    }
  }
}
