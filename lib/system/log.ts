/**
 * The log: one line an event, as logfmt or JSON. Event names are fixed words; field values may come from outside and are
 * escaped. Never a key, a nonce or a byte of a packet.
 */

import { OpenmeError } from "../values/errors.ts";
import { escapeUnprintable, quote } from "../values/text.ts";

export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;
export type LogLevel = typeof LOG_LEVELS[number];

export const LOG_FORMATS = ["logfmt", "json"] as const;
export type LogFormat = typeof LOG_FORMATS[number];

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Writes one event at a level; fields that are `undefined` are left out. */
export type Log = Readonly<Record<LogLevel, (event: string, fields?: LogFields) => void>> & {
  /** Whether a level is written: for lines that are costly to make. */
  readonly enabled: (level: LogLevel) => boolean;
};

/** A log that hands lines, without a line break, to `write`; `now` dates them. */
export function createLog(
  { level, format, now, write }: {
    level: LogLevel;
    format: LogFormat;
    now: () => Date;
    write: (line: string, level: LogLevel) => void;
  },
): Log {
  const enabled = (each: LogLevel) => LOG_LEVELS.indexOf(each) <= LOG_LEVELS.indexOf(level);
  const at = (each: LogLevel) => (event: string, fields: LogFields = {}) => {
    if (!enabled(each)) return;
    const entry = { time: now().toISOString(), level: each, event, ...fields };
    const isJson = format === "json";
    write(isJson ? escapeUnprintable(JSON.stringify(entry)) : formatLogfmt(entry), each);
  };
  return { error: at("error"), warn: at("warn"), info: at("info"), debug: at("debug"), enabled };
}

/** The same log, with more fields in every line. */
export function withFields(log: Log, more: LogFields): Log {
  const at = (each: LogLevel) => (event: string, fields: LogFields = {}) =>
    log[each](event, { ...fields, ...more });
  return { ...log, error: at("error"), warn: at("warn"), info: at("info"), debug: at("debug") };
}

/** `key=value` pairs; a value is quoted and escaped unless its characters are all plain. */
export function formatLogfmt(fields: LogFields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${formatValue(String(value))}`)
    .join(" ");
}

function formatValue(value: string): string {
  return /^[\w.,:;/@+*()[\]-]+$/.test(value) ? value : quote(value, 500);
}

/** The fields of an error: its message, and its hint if any. */
export function errorFields(error: unknown): LogFields {
  const hint = error instanceof OpenmeError ? error.hint : undefined;
  return { error: error instanceof Error ? error.message : String(error), hint };
}
