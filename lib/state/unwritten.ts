/**
 * The trace of a state that could not be written: an empty file, made when a write fails and removed once everything is
 * on disk again. A start that finds it treats the database as lost, also after a SIGKILL.
 */

import { join, resolve } from "node:path";
import { fingerprint } from "../crypto/sync.ts";
import { removeFile } from "./directory.ts";
import { UNWRITTEN_NAME } from "./names.ts";

const RUN_DIR = "/run";

/** The path in /run of a file about a state directory that itself cannot be written. */
export function runPath(dir: string, kind: "unwritten" | "lock"): string {
  return join(RUN_DIR, `openme-${fingerprint(new TextEncoder().encode(realPathOf(dir)))}.${kind}`);
}

/** Whether the trace is there. */
export function isUnwritten(dir: string): boolean {
  return placesOf(dir).some((path) => {
    try {
      Deno.lstatSync(path);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Leaves the trace; returns the error where that is impossible. Then a SIGKILL would lose what only memory knows, and
 * the next start could not tell: this is for the log.
 */
export function noteUnwritten(dir: string): unknown {
  let failure: unknown;
  for (const path of placesOf(dir)) {
    try {
      Deno.openSync(path, { write: true, create: true, mode: 0o600 }).close();
      return undefined;
    } catch (cause) {
      failure = cause;
    }
  }
  return failure;
}

/** Removes the trace. Where that fails, the next start refuses knocks for a window without need. */
export function clearUnwritten(dir: string): void {
  placesOf(dir).forEach(removeFile);
}

/**
 * In the directory itself: a full disk still takes an empty file, which outlives the boot. In /run where the directory is
 * read-only or gone: that lasts until the next boot, which counts as a power cut.
 */
function placesOf(dir: string): string[] {
  return [join(dir, UNWRITTEN_NAME), runPath(dir, "unwritten")];
}

/** Without links, relative parts and slashes at the end; a directory that is gone keeps its name. */
function realPathOf(dir: string): string {
  try {
    return Deno.realPathSync(dir);
  } catch {
    return resolve(dir);
  }
}
