/** The names of all files that openme keeps in its state directory. */

export const DATABASE_NAME = "state.db";
/** Empty: the disk refused a write. */
export const UNWRITTEN_NAME = "unwritten";
export const LOCK_NAME = "lock";
export const PROBE_NAME = ".probe";
export const CONTROL_NAME = "control.sock";
/** The journal of the backend `command`. */
export const OPENED_NAME = "opened.json";
/** Keys that were revoked for a whole fleet. */
export const REVOKED_KEYS_NAME = "revoked-keys";
/** Folders of dry runs. */
export const DRY_RUN_PREFIX = "dry-run-";

const EXACTLY = [UNWRITTEN_NAME, PROBE_NAME, CONTROL_NAME];
/** SQLite makes files beside its own, a damaged database is moved aside, and a file is written beside its old one. */
const BEGINNINGS = [DATABASE_NAME, LOCK_NAME, OPENED_NAME, REVOKED_KEYS_NAME, DRY_RUN_PREFIX];

/** Whether a file or folder of this name in a state directory is openme's. */
export function isOwnName(name: string): boolean {
  return EXACTLY.includes(name) || BEGINNINGS.some((beginning) => name.startsWith(beginning));
}
