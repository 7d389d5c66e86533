/**
 * One `serve` to a state directory: an exclusive SQLite transaction on a small file of its own, which ends with the
 * process, however that ends.
 */

import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { messageOf, OpenmeError } from "../errors.ts";
import { quote } from "../quote.ts";

/** Takes the lock or throws; `release` gives it back before the process ends. */
export function takeLock(stateDir: string): { release: () => void } {
  const path = join(stateDir, "lock");
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(path);
    lock.exec("PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE");
    return { release: () => lock?.close() };
  } catch (cause) {
    lock?.close();
    if (/locked|busy/i.test(messageOf(cause))) {
      throw new OpenmeError(
        "STATE",
        `another openme serve is running with the state directory ${quote(stateDir, 1000)}`,
        {
          hint: "stop that one first; it keeps running, and its guard stays in place",
          cause,
        },
      );
    }
    throw new OpenmeError("STATE", `cannot lock ${quote(path, 1000)}: ${messageOf(cause)}`, {
      hint: "the file holds nothing: remove it if it is damaged",
      cause,
    });
  }
}

/** Whether a `serve` runs with this state directory. A directory that is not there is nobody's. */
export function isLocked(stateDir: string): boolean {
  try {
    Deno.statSync(join(stateDir, "lock"));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    throw new OpenmeError(
      "STATE",
      `cannot look into ${quote(stateDir, 1000)}: ${messageOf(cause)}`,
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
