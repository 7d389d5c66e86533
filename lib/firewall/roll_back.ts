/** Puts back the guard that was in place before one that was not confirmed. */

import { pause } from "../system/clock.ts";
import { errorFields, type Log } from "../system/log.ts";
import type { Backend } from "./backend.ts";
import type { GuardPlan } from "./plan.ts";

/** How often the removal is tried, and how long to wait in between. */
const REMOVE_TRIES = 3;
const RETRY_MS = 1000;

/**
 * Puts back the guard of `former`. If that is `undefined` or fails, takes every rule out. Returns whether `former` is in
 * place. Throws if the removal fails, too.
 */
export async function rollBack(
  backend: Backend,
  former: GuardPlan | undefined,
  log: Log,
): Promise<boolean> {
  let failure: unknown;
  if (former) {
    try {
      backend.reconfigure(former);
      await backend.install([]);
      await backend.leave();
      return true;
    } catch (cause) {
      failure = cause;
    }
  }
  await removeSurely(backend, log);
  if (former) {
    const did = "removed the guard instead";
    log.error("former_guard_failed", { ...errorFields(failure), did });
  }
  return false;
}

/** A program that failed once, as on a busy host, is run again. */
async function removeSurely(backend: Backend, log: Log): Promise<void> {
  for (let tries = 1;; tries++) {
    try {
      return await backend.remove();
    } catch (cause) {
      if (tries === REMOVE_TRIES) throw cause;
      log.error("remove_failed", {
        backend: backend.name,
        ...errorFields(cause),
        doing: "trying again",
      });
      await pause(RETRY_MS);
    }
  }
}
