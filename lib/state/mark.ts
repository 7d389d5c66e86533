/**
 * A second mark of a state directory, while its server runs: in memory that outlives the process, and no more than the
 * boot, after which knocks of before are refused anyway. It says what the witness cannot: on a disk that has become
 * read-only, and when somebody has deleted the whole folder.
 */

import { join, resolve } from "node:path";
import { fingerprint } from "../crypto_sync.ts";

const VOLATILE_DIR = "/run";

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

/** The mark, `undefined` where there is none. */
export function readMark(dir: string): Mark | undefined {
  try {
    const text = Deno.readTextFileSync(volatilePath(dir, "state"));
    return text === "unsound" ? "unsound" : "running";
  } catch {
    return undefined;
  }
}

/** Leaves a mark. Throws where there is no such folder on this system, or not for this user. */
export function writeMark(dir: string, mark: Mark): void {
  Deno.writeTextFileSync(volatilePath(dir, "state"), mark, { mode: 0o600 });
}

export function removeMark(dir: string): void {
  try {
    Deno.removeSync(volatilePath(dir, "state"));
  } catch {
    // It could not be written either.
  }
}
