/** The state directory: made where it is missing, and refused where somebody else could put another database there. */

import { join } from "node:path";
import { diskTroubleOf, messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { isOwnName, PROBE_NAME } from "./names.ts";

/** Nobody else reads what is in there: folder 0700, files 0600. Throws `OpenmeError`, code `STATE`. */
export function makeStateDir(path: string): void {
  Deno.umask(0o077);
  try {
    Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
    requireOwn(path);
  } catch (cause) {
    if (cause instanceof OpenmeError) throw cause;
    const [why, hint] = diskTroubleOf(cause) ??
      [messageOf(cause), "run openme as root, or choose another folder with --state-dir"];
    throw new OpenmeError(
      "STATE",
      `cannot make the state directory ${quote(path, 1000)}: ${why}`,
      { hint, cause },
    );
  }
}

/** Whoever can write there can take the nonces away, and make old knocks new again. */
function requireOwn(path: string): void {
  const { mode, uid } = Deno.statSync(path);
  if (mode === null || uid === null) return; // Windows has neither
  const own = Deno.uid();
  if (uid !== own) {
    throw unsafe(path, `expected a folder of this user (${own}), got one of user ${uid}`, {
      hint: "give it to the user that runs openme serve, or choose another with --state-dir",
    });
  }
  if ((mode & 0o022) !== 0) {
    const shown = (mode & 0o7777).toString(8).padStart(4, "0");
    throw unsafe(path, `expected the mode 0700, got ${shown}: others may write there`, {
      hint:
        "see that nobody has put anything there, then chmod 0700 it; or choose another with --state-dir",
    });
  }
  if ((mode & 0o077) === 0 || !isOpenmesAlone(path)) return;
  try {
    Deno.chmodSync(path, 0o700);
  } catch (cause) {
    if (diskFault(path) === undefined) throw cause; // a read-only disk keeps nobody out
  }
}

/** Whether nothing else is in there: others may have to read /var/lib, if that was meant. The files are 0600 anyway. */
function isOpenmesAlone(path: string): boolean {
  return Deno.readDirSync(path).every(({ name }) => isOwnName(name));
}

function unsafe(path: string, why: string, { hint }: { hint: string }): OpenmeError {
  return new OpenmeError(
    "STATE",
    `cannot use the state directory ${quote(path, 1000)}: ${why}`,
    { hint },
  );
}

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
