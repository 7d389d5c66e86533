/**
 * One `serve` to a state directory: an exclusive SQLite transaction on a file of its own, which the kernel ends with the
 * process.
 */

import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { diskFault, removeFile } from "./directory.ts";
import { LOCK_NAME } from "./names.ts";
import { runPath } from "./unwritten.ts";

const STOP_HINT = "stop that one first; it keeps running, and its guard stays in place";

/** A lock that is held until it is released or the process ends. */
export interface Lock {
  readonly release: () => void;
}

/**
 * Takes the lock; throws `OpenmeError`, code `STATE`, where another process has it (then with this hint) or it cannot be
 * taken. On a disk that cannot be written the lock is a file in /run.
 */
export function takeLock(stateDir: string, { hint = STOP_HINT }: { hint?: string } = {}): Lock {
  const path = join(stateDir, LOCK_NAME);
  const inside = lockFile(path);
  // On a read-only disk SQLite opens the file and locks nothing. Another file is tried: to close this one anywhere in the
  // process would end its lock (fcntl).
  const fault = diskFault(stateDir, { size: inside.lock ? 0 : undefined });
  const outsidePath = runPath(stateDir, "lock");
  const outside = fault === undefined || inside.isBusy ? undefined : lockFile(outsidePath);
  if (inside.isBusy || outside?.isBusy) {
    inside.lock?.close();
    throw new RunningError(
      "STATE",
      `another openme serve is running with the state directory ${quote(stateDir, 1000)}`,
      { hint },
    );
  }
  if (fault === undefined && !inside.lock) {
    throw new OpenmeError("STATE", `cannot lock ${quote(path, 1000)}: ${inside.failure}`, {
      hint: "the file holds nothing: remove it if it is damaged",
    });
  }
  // Where neither file can be locked, the knock port is left, which only one process can bind.
  return {
    release: () => {
      inside.lock?.close();
      outside?.lock?.close();
      if (outside?.lock) removeFile(outsidePath);
    },
  };
}

class RunningError extends OpenmeError {}

/** Whether a `serve` runs with this state directory; `false` where there is no such directory. */
export function isLocked(stateDir: string): boolean {
  try {
    Deno.statSync(join(stateDir, LOCK_NAME));
    takeLock(stateDir).release();
    return false;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    if (cause instanceof RunningError) return true;
    if (cause instanceof OpenmeError) throw cause;
    const why = cause instanceof Deno.errors.PermissionDenied
      ? "permission denied"
      : messageOf(cause);
    throw new OpenmeError("STATE", `cannot look into ${quote(stateDir, 1000)}: ${why}`, {
      hint: "it belongs to the user that runs openme serve: try sudo",
      cause,
    });
  }
}

/** Locks a file, and makes it where it is missing. */
function lockFile(path: string): { lock?: DatabaseSync; isBusy?: boolean; failure?: string } {
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(path);
    lock.exec("PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE");
    return { lock };
  } catch (cause) {
    lock?.close();
    const failure = messageOf(cause);
    return { failure, isBusy: /locked|busy/i.test(failure) };
  }
}
