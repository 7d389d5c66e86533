/**
 * Priorities of lines that go to systemd's journal: `<4>` in front of a line says "warning". sd-daemon(3) has the
 * numbers, systemd.exec(5) the variable that says which stream is the journal.
 */

import { fstatSync } from "node:fs";
import type { LogLevel } from "./log.ts";

const PRIORITIES: Readonly<Record<LogLevel, number>> = { error: 3, warn: 4, info: 6, debug: 7 };

/**
 * Whether standard error is the stream that `JOURNAL_STREAM` names, `DEVICE:INODE`. It is inherited, so that alone it
 * says nothing of where this process writes.
 */
export function isJournal(journalStream: string): boolean {
  try {
    const { dev, ino } = fstatSync(2, { bigint: true });
    return journalStream === `${dev}:${ino}`;
  } catch {
    return false; // closed
  }
}

/** The line with its priority; a line for people says by its first words what it is. */
export function withPriority(line: string, level?: LogLevel): string {
  const told = /^openme: (?:(error)|warning|hint):/.exec(line);
  return `<${PRIORITIES[level ?? (told ? told[1] ? "error" : "warn" : "info")]}>${line}`;
}
