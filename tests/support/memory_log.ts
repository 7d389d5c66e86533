/** A log that a test reads. */

import type { Log, LogFields } from "../../lib/system/log.ts";

/** One line of a log. */
export interface LogEvent {
  readonly level: string;
  readonly event: string;
  readonly fields: LogFields;
}

/** A log that is kept instead of written. */
export function memoryLog(): { log: Log; events: LogEvent[] } {
  const events: LogEvent[] = [];
  const at = (level: string) => (event: string, fields: LogFields = {}) => {
    events.push({ level, event, fields });
  };
  const log: Log = {
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    enabled: () => true,
  };
  return { log, events };
}
