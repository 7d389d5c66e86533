/**
 * Priorities of lines for systemd's journal: `<4>` in front of a line means "warning". The numbers are in sd-daemon(3),
 * the variable that names the journal's stream in systemd.exec(5).
 */

import { fstatSync } from "node:fs";
import type { LogLevel } from "./log.ts";

const PRIORITIES: Readonly<Record<LogLevel, number>> = { error: 3, warn: 4, info: 6, debug: 7 };

/**
 * Whether standard error is the stream that `JOURNAL_STREAM` names, `DEVICE:INODE`. The variable alone proves nothing:
 * child processes inherit it.
 */
export function isJournal(journalStream: string): boolean {
  try {
    const { dev, ino } = fstatSync(2, { bigint: true });
    return journalStream === `${dev}:${ino}`;
  } catch {
    return false; // closed
  }
}

/** The line with its priority; without a level, by its first words, such as `openme: warning:`. */
export function withPriority(line: string, level?: LogLevel): string {
  const told = /^openme: (?:(error)|warning|hint):/.exec(line);
  return `<${PRIORITIES[level ?? (told ? told[1] ? "error" : "warn" : "info")]}>${line}`;
}
