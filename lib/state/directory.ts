/** The state directory: made, refused where others could write to it, and whether its disk takes writes. */

import { join } from "node:path";
import { diskTroubleOf, messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { isOwnName, PROBE_NAME } from "./names.ts";

/** Makes it where it is missing, for this user alone: 0700, files 0600. Throws `OpenmeError`, code `STATE`. */
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

/** A user who can write there can remove the nonces, and make old knocks new again. */
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
        "see that no other user has put anything there, then chmod 0700 it; or choose another with --state-dir",
    });
  }
  if ((mode & 0o077) === 0 || !isOpenmesAlone(path)) return;
  try {
    Deno.chmodSync(path, 0o700);
  } catch (cause) {
    if (diskFault(path) === undefined) throw cause; // a read-only disk does not stop the start
  }
}

/** A directory such as /var/lib, which others may have to read, keeps its mode; the files are 0600 anyway. */
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

/**
 * Why the disk of an existing directory takes no writes; `undefined` where it does, and where something else is wrong: a
 * failing disk must keep no client out, a mistake of the operator is reported at once.
 */
export function diskFault(
  dir: string,
  { size = PROBE_SIZE }: { size?: number | undefined } = {},
): string | undefined {
  const path = join(dir, PROBE_NAME);
  try {
    Deno.writeFileSync(path, new Uint8Array(size), { mode: 0o600 });
    return undefined;
  } catch (cause) {
    return diskTroubleOf(cause) && messageOf(cause);
  } finally {
    removeFile(path);
  }
}

/** Removes a file where that is possible. */
export function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Not there, or on a disk that cannot be written.
  }
}
