/**
 * Runs the administrator's program (`server.notify`) at each grant: one run at a time, each with a deadline, no shell. It
 * gets values printed from parsed ones, in its environment and never in its arguments. Its output is discarded.
 */

import { formatAddress } from "../values/address.ts";
import type { ServerConfig } from "../config/server.ts";
import { formatDuration } from "../values/duration.ts";
import { errorFields, type Log } from "../system/log.ts";
import type { Opened } from "../receive/reporter.ts";
import { isoTime } from "../values/moment.ts";
import { formatNetwork } from "../values/network.ts";
import type { RunProgram } from "../system/run_program.ts";
import type { Running } from "../server.ts";
import { shownPorts } from "../values/ports.ts";

/** The deadline of one run. */
export const NOTIFY_DEADLINE_MS = 10_000;
/** Grants that may wait for their turn. A program that is too slow misses the rest. */
const MOST_WAITING = 64;

/** Runs `server.notify` of the current configuration at each grant, not at a renewal. */
export function notifyOfGrants(
  running: Running,
  { run, log, deadlineMs = NOTIFY_DEADLINE_MS }: {
    run: RunProgram;
    log: Log;
    deadlineMs?: number;
  },
): void {
  const waiting: Opened[] = [];
  let missed = 0;
  let working = false;
  const work = async () => {
    working = true;
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [program, ...args] = running.config().notify ?? [];
      if (program === undefined) continue;
      try {
        await run({
          program,
          args,
          timeoutMs: deadlineMs,
          env: environmentOf(next, running.config()),
          isUnheard: true,
        });
      } catch (error) {
        log.warn("notify_failed", errorFields(error));
      }
    }
    if (missed > 0) log.warn("notify_missed", { grants: missed, why: "the program is too slow" });
    missed = 0;
    working = false;
  };
  running.onOpened((opened) => {
    if (opened.renewed || running.config().notify === undefined) return;
    if (waiting.length >= MOST_WAITING) return void missed++;
    waiting.push(opened);
    if (!working) work();
  });
}

function environmentOf(
  { grant, source, lifetimeMs }: Opened,
  config: ServerConfig,
): Record<string, string> {
  return {
    OPENME_EVENT: "granted",
    OPENME_CLIENT: grant.client,
    OPENME_ADDRESS: formatNetwork(grant.address),
    OPENME_SOURCE: formatAddress(source),
    OPENME_PORTS: shownPorts(grant.ports, config.healthPort).join(" "),
    OPENME_LIFETIME: formatDuration(Math.round(lifetimeMs)),
    OPENME_EXPIRES_AT: isoTime(grant.expiresAtMs),
  };
}
