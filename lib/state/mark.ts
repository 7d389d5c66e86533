/**
 * A second mark of a state directory, while its server runs: in memory that outlives the process, and no more than the
 * boot, after which knocks of before are refused anyway. It says what the witness cannot: on a disk that has become
 * read-only, and when somebody has deleted the whole folder.
 */

import { join, resolve } from "node:path";
import { fingerprint } from "../crypto/sync.ts";

const VOLATILE_DIR = "/run";
const MARK_NAME = /^openme-[0-9a-f]{16}\.state$/;

/** `running`: a server runs, or was killed. `unsound`: what is on disk is not all that it knew. */
export type Mark = "running" | "unsound";

/** Where something about a state directory, however that is written, is kept that must not be in it. */
export function volatilePath(dir: string, kind: "state" | "lock"): string {
  const name = new TextEncoder().encode(realPathOf(dir));
  return join(VOLATILE_DIR, `openme-${fingerprint(name)}.${kind}`);
}

/** Without links, relative parts and slashes at the end; a folder that is gone keeps its name. */
function realPathOf(dir: string): string {
  try {
    return Deno.realPathSync(dir);
  } catch {
    return resolve(dir);
  }
}

const STALE_MS = 86_400_000;

/** The mark, `undefined` where there is none. One that cannot be read is the worst. */
export function readMark(dir: string): Mark | undefined {
  try {
    return parseMark(Deno.readTextFileSync(volatilePath(dir, "state")))?.mark ?? "unsound";
  } catch (cause) {
    return cause instanceof Deno.errors.NotFound ? undefined : "unsound";
  }
}

/** Leaves a mark. Throws where there is no such folder on this system, or not for this user. */
export function writeMark(dir: string, mark: Mark): void {
  const text = `${mark}\n${realPathOf(dir)}\n`;
  Deno.writeTextFileSync(volatilePath(dir, "state"), text, { mode: 0o600 });
}

export function removeMark(dir: string): void {
  remove(volatilePath(dir, "state"));
}

/** A living server says by the time of its mark that it lives. */
export function refreshMark(dir: string): void {
  const now = new Date();
  try {
    Deno.utimeSync(volatilePath(dir, "state"), now, now);
  } catch {
    // It is not there, or could not be written either.
  }
}

/**
 * Removes the marks of state directories that are gone, but for `own`: a server that is killed leaves its mark. One that
 * was written or refreshed within the last day stays: in another mount namespace a folder of a living server may not be
 * visible.
 */
export function removeStaleMarks(own: string): void {
  const kept = volatilePath(own, "state");
  try {
    for (const { name } of Deno.readDirSync(VOLATILE_DIR)) {
      const path = join(VOLATILE_DIR, name);
      if (!MARK_NAME.test(name) || path === kept || !isStale(path)) continue;
      remove(path);
      remove(path.replace(/state$/, "lock"));
    }
  } catch {
    // No such folder on this system, or not for this user.
  }
}

/** Whether the folder that a mark names is not there, and no server has refreshed it for long. */
function isStale(path: string): boolean {
  try {
    const { mtime } = Deno.statSync(path);
    if (mtime === null || Date.now() - mtime.getTime() < STALE_MS) return false;
    const named = parseMark(Deno.readTextFileSync(path));
    if (!named) return false;
    Deno.lstatSync(named.dir);
    return false;
  } catch (cause) {
    return cause instanceof Deno.errors.NotFound;
  }
}

function parseMark(text: string): { mark: Mark; dir: string } | undefined {
  const [, mark, dir] = /^(running|unsound)\n(\/[^\0]*)\n$/.exec(text) ?? [];
  return dir === undefined ? undefined : { mark: mark as Mark, dir };
}

function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It is not there, or could not be written either.
  }
}
