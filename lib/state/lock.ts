/**
 * One `serve` to a state directory: an exclusive SQLite transaction on a small file of its own, which ends with the
 * process, however that ends.
 */

import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { diskFault } from "./directory.ts";
import { LOCK_NAME } from "./names.ts";
import { runPath } from "./unwritten.ts";

const STOP_HINT = "stop that one first; it keeps running, and its guard stays in place";

/**
 * Takes the lock or throws, with a hint for where another has it; `release` gives it back before the process ends. On a disk that cannot be written, where
 * nobody can lock anything, it is one outside, if there is any.
 */
export function takeLock(
  stateDir: string,
  { hint = STOP_HINT }: { hint?: string } = {},
): { release: () => void } {
  const path = join(stateDir, LOCK_NAME);
  let held: { release: () => void } | undefined;
  let failure: unknown;
  try {
    held = lockFile(path);
  } catch (cause) {
    if (isBusy(cause)) throw runningError(stateDir, { hint, cause });
    failure = cause;
  }
  // On a read-only disk SQLite opens the file all the same, and then locks nothing. Not the file itself is tried: to
  // close it anywhere in this process would end the lock (fcntl).
  const fault = diskFault(stateDir, { size: held ? 0 : undefined });
  if (held && fault === undefined) return held;
  if (fault === undefined) {
    throw new OpenmeError("STATE", `cannot lock ${quote(path, 1000)}: ${messageOf(failure)}`, {
      hint: "the file holds nothing: remove it if it is damaged",
      cause: failure,
    });
  }
  try {
    const outsidePath = runPath(stateDir, "lock");
    const outside = lockFile(outsidePath);
    return {
      release: () => {
        outside.release();
        removeFile(outsidePath);
        held?.release();
      },
    };
  } catch (cause) {
    held?.release();
    if (isBusy(cause)) throw runningError(stateDir, { hint, cause });
    // The knock port, which only one can have, has to do.
    return held ?? { release: () => {} };
  }
}

function lockFile(path: string): { release: () => void } {
  const lock = new DatabaseSync(path);
  try {
    lock.exec("PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE");
    return { release: () => lock.close() };
  } catch (cause) {
    lock.close();
    throw cause;
  }
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Never written: SQLite makes the file with its first page.
  }
}

function isBusy(cause: unknown): boolean {
  return /locked|busy/i.test(messageOf(cause));
}

function runningError(stateDir: string, options: { hint: string; cause: unknown }): OpenmeError {
  return new OpenmeError(
    "STATE",
    `another openme serve is running with the state directory ${quote(stateDir, 1000)}`,
    options,
  );
}

/** Whether a `serve` runs with this state directory. A directory that is not there is nobody's. */
export function isLocked(stateDir: string): boolean {
  try {
    Deno.statSync(join(stateDir, LOCK_NAME));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    throw new OpenmeError(
      "STATE",
      `cannot look into ${quote(stateDir, 1000)}: ${
        cause instanceof Deno.errors.PermissionDenied ? "permission denied" : messageOf(cause)
      }`,
      {
        hint: "it belongs to the user that runs openme serve: try sudo",
        cause,
      },
    );
  }
  try {
    takeLock(stateDir).release();
    return false;
  } catch (cause) {
    if (cause instanceof OpenmeError && cause.message.startsWith("another openme serve")) {
      return true;
    }
    throw cause;
  }
}
