/**
 * Drops in the log: at debug a line each, as long as they are few; from then on they are counted, and a line a second
 * says how many there were of each reason, those that the kernel dropped included.
 */

import type { Log, LogFields } from "../system/log.ts";

/**
 * Lines between two ticks, which are a second apart at least: debug lines for single drops; others, below and from the
 * level `warn`; and a summary of each. A second lies in two such spans at most: no more than 100 lines in any.
 */
export const DROP_LINES = 20;
const EVENT_LINES = 24;
const ALARM_LINES = 4;

/** Counts drops. Whoever owns it calls {@linkcode DropLog.tick} once a second, and not sooner. */
export class DropLog {
  readonly #log: Log;
  readonly #counts = new Map<string, number>();
  #lines = 0;
  #leftOut = 0;
  #kernelBefore: Readonly<Record<string, number>> = {};
  readonly #kernelNew = new Map<string, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** One datagram was dropped; `fields` are only made where a line is written. */
  dropped(reason: string, fields: () => LogFields): void {
    this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + 1);
    if (this.#lines >= DROP_LINES) {
      this.#leftOut++;
      return;
    }
    this.#lines++; // counted at every level, so that what a summary says does not depend on it
    if (this.#log.enabled("debug")) this.#log.debug("dropped", { reason, ...fields() });
  }

  /** What the kernel has dropped so far, by reason; what is new of it is in the next summary. Gives whether anything is. */
  kernelHas(totals: Readonly<Record<string, number>>): boolean {
    const before = this.#kernelBefore;
    this.#kernelBefore = totals;
    let isNew = false;
    for (const [reason, total] of Object.entries(totals)) {
      const known = before[reason] ?? 0;
      const count = total >= known ? total - known : total; // a new table counts from nothing
      this.#kernelNew.set(reason, (this.#kernelNew.get(reason) ?? 0) + count);
      isNew ||= count > 0;
    }
    return isNew;
  }

  /** A second is over. */
  tick(): void {
    const inKernel = [...this.#kernelNew].filter(([, count]) => count > 0);
    if (this.#leftOut > 0 || inKernel.length > 0) {
      this.#log.info("drops", {
        ...Object.fromEntries([...this.#counts].sort(([a], [b]) => a < b ? -1 : 1)),
        ...Object.fromEntries(inKernel.map(([reason, count]) => [`kernel_${reason}`, count])),
      });
    }
    this.#kernelNew.clear();
    this.#counts.clear();
    this.#lines = 0;
    this.#leftOut = 0;
  }
}

/**
 * A log that writes so many lines between two ticks and counts the rest: `events` below the level `warn`, `alarms` from
 * there on, so that a flood of the one does not hide the other.
 */
export function limitLog(
  log: Log,
  { events = EVENT_LINES, alarms = ALARM_LINES } = {},
): { log: Log; tick: () => void } {
  let [eventsLeft, alarmsLeft, leftOut] = [events, alarms, 0];
  const event = (level: "info" | "debug"): Log["info"] => (name, fields) => {
    if (!log.enabled(level)) return;
    if (eventsLeft-- > 0) log[level](name, fields);
    else leftOut++;
  };
  const alarm = (level: "error" | "warn"): Log["info"] => (name, fields) => {
    if (alarmsLeft-- > 0) log[level](name, fields);
    else leftOut++;
  };
  return {
    log: {
      error: alarm("error"),
      warn: alarm("warn"),
      info: event("info"),
      debug: event("debug"),
      enabled: log.enabled,
    },
    tick: () => {
      if (leftOut > 0) log.warn("lines_left_out", { lines: leftOut });
      [eventsLeft, alarmsLeft, leftOut] = [events, alarms, 0];
    },
  };
}
