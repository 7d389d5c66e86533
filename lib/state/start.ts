/**
 * What a start finds on disk, and the floor that stands in for what is missing: knocks dated at or before it count as
 * seen. docs/protocol.md, "After a restart".
 */

import { type Clock, isoTime } from "../values/moment.ts";
import { messageOf } from "../values/errors.ts";
import { errorFields, type Log } from "../system/log.ts";
import { connectToRead, isDamage, moveAside, readDatabase, type StoredState } from "./database.ts";
import { isUnwritten, noteUnwritten } from "./unwritten.ts";
import type { StateWriter } from "./writer.ts";

/** How much a start knows of the knocks before it. */
export type Past =
  /** A clean stop, or a death of the process alone: everything. */
  | "complete"
  /** There was no database, or no server has used it. */
  | "new"
  /** Another boot without a clean stop: the last transactions may be missing. */
  | "power_cut"
  /** The disk refused writes: what only memory knew is missing. */
  | "unwritten"
  /** SQLite reported damage, and the database was moved aside. */
  | "damaged";

/** What a start finds. */
export interface Found {
  /** `undefined` where nothing could be read. */
  readonly stored: StoredState | undefined;
  /** The floor for this start, ns since 1970; `undefined` where nothing is missing. */
  readonly floorNs?: bigint | undefined;
  /** When a new memory begins. */
  readonly beganNs?: bigint;
}

/** What the state of a server works with. */
export interface StateParts {
  /** The state directory; it exists, and is this server's alone. */
  readonly dir: string;
  readonly replayWindowNs: bigint;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Opens the database, or makes it; one that is damaged is moved aside, never deleted. Throws where it can be neither read
 * nor made.
 */
export function startFromDisk(
  writer: StateWriter,
  { dir, replayWindowNs, clock, log }: StateParts,
): Found {
  const times = { startNs: clock.now().wallNs, replayWindowNs };
  try {
    const stored = writer.load();
    const past = pastOf(stored, { bootId: clock.bootId, unwritten: isUnwritten(dir) });
    if (past === "unwritten") {
      log.warn("state_incomplete", { why: "the disk could not be written before the last stop" });
    } else if (past === "power_cut") {
      log.warn("unclean_stop", { why: "the machine went down while openme was running" });
    }
    return past === "new"
      ? { stored, beganNs: times.startNs }
      : { stored, floorNs: floorAfter(past, times) };
  } catch (cause) {
    if (!isDamage(cause)) throw cause;
    // If this process is killed before the floor is on disk, the next start must not take the new database for a first one.
    noteUnwritten(dir);
    const floorNs = floorAfter("damaged", times);
    log.warn("state_unreadable", {
      moved_to: moveAside(writer.path, times.startNs),
      error: messageOf(cause),
      refusing_knocks_until: textOf(floorNs),
    });
    return { stored: writer.load(), floorNs };
  }
}

/** Where the disk refuses, for the reason `why`: what can be read counts, and a floor stands in for the rest. */
export function startFromMemory(
  writer: StateWriter,
  why: unknown,
  { replayWindowNs, clock, log }: StateParts,
): Found {
  writer.close();
  const floorNs = floorAfter("unwritten", { startNs: clock.now().wallNs, replayWindowNs });
  log.warn("state_not_written", {
    ...errorFields(why),
    doing: "starting from memory, trying again until it works",
    refusing_knocks_until: textOf(floorNs),
  });
  writer.noteUnwritten();
  const database = connectToRead(writer.path);
  try {
    return { stored: database && readDatabase(database), floorNs };
  } catch {
    return { stored: undefined, floorNs };
  } finally {
    database?.close();
  }
}

/** The past of a start that could read the database. `unwritten`: whether the trace of refused writes was found. */
export function pastOf(
  { bootId, cleanStop }: Pick<StoredState, "bootId" | "cleanStop">,
  now: { readonly bootId: string | undefined; readonly unwritten: boolean },
): Past {
  if (now.unwritten) return "unwritten";
  if (bootId === undefined) return "new";
  return cleanStop || isSameBoot(bootId, now.bootId) ? "complete" : "power_cut";
}

/** Whether two ids name one boot; an unknown boot is never the same. */
export function isSameBoot(stored: string | undefined, now: string | undefined): boolean {
  return Boolean(stored) && stored === now;
}

/** The floor in ns since 1970; `undefined` where nothing is missing. */
export function floorAfter(
  past: Past,
  { startNs, replayWindowNs }: { startNs: bigint; replayWindowNs: bigint },
): bigint | undefined {
  switch (past) {
    case "complete":
    case "new":
      return undefined;
    case "power_cut":
      return startNs;
    // What was taken just now may be dated up to a window ahead.
    case "unwritten":
    case "damaged":
      return startNs + replayWindowNs;
  }
}

function textOf(floorNs: bigint | undefined): string | undefined {
  return floorNs === undefined ? undefined : isoTime(Number(floorNs / 1_000_000n));
}
