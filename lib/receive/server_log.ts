/**
 * The log of a server whose senders may be hostile: a bounded number of lines a second. Drops are a line each at debug
 * while they are few; beyond that a line a second says how many there were of each reason, in the kernel too.
 */

import type { Log, LogFields } from "../system/log.ts";
import type { Observer } from "./observer.ts";

/**
 * Most lines between two ticks: single drops at debug; events below `warn`; alarms from `warn` on. Each kind has a budget
 * of its own, so that a flood of one does not hide the others. With the two summaries of a tick that makes 50 lines. A
 * second may overlap two such spans: at most 100 lines.
 */
const LINES = { drop: 20, event: 24, alarm: 4 };

/** Debug lines for single drops between two ticks. */
export const DROP_LINES = LINES.drop;

/** Bounds what is written to a log. The owner calls {@linkcode ServerLog.tick} once a second, and not sooner. */
export class ServerLog {
  /** For everything but drops: what is beyond the bounds is counted. */
  readonly log: Log;
  observer: Observer | undefined;
  readonly #unbounded: Log;
  #left = { ...LINES };
  #linesLeftOut = 0;
  readonly #drops = new Map<string, number>();
  #dropsLeftOut = 0;
  readonly #kernelDrops = new Map<string, number>();
  #kernelTotals: Readonly<Record<string, number>> = {};

  constructor(log: Log) {
    this.#unbounded = log;
    const bounded = (kind: "event" | "alarm", level: "error" | "warn" | "info" | "debug") => {
      return (event: string, fields?: LogFields) => {
        this.observer?.logged(event);
        if (!log.enabled(level)) return;
        if (this.#left[kind]-- > 0) log[level](event, fields);
        else this.#linesLeftOut++;
      };
    };
    this.log = {
      error: bounded("alarm", "error"),
      warn: bounded("alarm", "warn"),
      info: bounded("event", "info"),
      debug: bounded("event", "debug"),
      enabled: log.enabled,
    };
  }

  /** One datagram was dropped; `fields` are only made where a line is written. */
  dropped(reason: string, fields: () => LogFields): void {
    add(this.#drops, reason, 1);
    this.observer?.dropped(reason, 1);
    // Counted at every level, so that what a summary says does not depend on the level.
    if (this.#left.drop-- <= 0) this.#dropsLeftOut++;
    else if (this.#unbounded.enabled("debug")) {
      this.#unbounded.debug("dropped", { reason, ...fields() });
    }
  }

  /** So many more datagrams were dropped, of which only the next summary tells. */
  droppedMore(reason: string, datagrams: number): void {
    add(this.#drops, reason, datagrams);
    this.observer?.dropped(reason, datagrams);
    this.#dropsLeftOut += datagrams;
  }

  /** What the kernel has dropped so far, by reason; the next summary says what is new of it. */
  kernelHas(totals: Readonly<Record<string, number>>): void {
    for (const [reason, total] of Object.entries(totals)) {
      const before = this.#kernelTotals[reason] ?? 0;
      const count = total >= before ? total - before : total; // a new table counts from zero
      if (count > 0) add(this.#kernelDrops, `kernel_${reason}`, count);
      this.observer?.kernelDropped(reason, count);
    }
    this.#kernelTotals = totals;
  }

  /** A second is over: writes the summaries, and allows the lines of the next second. */
  tick(): void {
    if (this.#dropsLeftOut > 0 || this.#kernelDrops.size > 0) {
      const drops = [...this.#drops].sort(([a], [b]) => a < b ? -1 : 1);
      this.#unbounded.info("drops", Object.fromEntries([...drops, ...this.#kernelDrops]));
    }
    if (this.#linesLeftOut > 0) {
      this.#unbounded.warn("lines_left_out", { lines: this.#linesLeftOut });
    }
    this.#left = { ...LINES };
    this.#linesLeftOut = this.#dropsLeftOut = 0;
    this.#drops.clear();
    this.#kernelDrops.clear();
  }
}

function add(counts: Map<string, number>, name: string, count: number): void {
  counts.set(name, (counts.get(name) ?? 0) + count);
}
