/** What openme keeps in its state directory: every name, once. Whoever makes a file there takes its name from here. */

export const DATABASE_NAME = "state.db";
/** The witness: taken away when a write fails, so that the next start knows. */
export const INTACT_NAME = "intact";
export const LOCK_NAME = "lock";
export const PROBE_NAME = ".probe";
export const CONTROL_NAME = "control.sock";
/** What the backend `command` has opened. */
export const OPENED_NAME = "opened.json";
/** Folders of dry runs. */
export const DRY_RUN_PREFIX = "dry-run-";

const EXACTLY = [INTACT_NAME, PROBE_NAME, CONTROL_NAME];
/** SQLite makes files beside its own, a damaged database is moved aside, and a file is written beside its old one. */
const BEGINNINGS = [DATABASE_NAME, LOCK_NAME, OPENED_NAME, DRY_RUN_PREFIX];

/** Whether a file or folder of this name in a state directory is openme's. */
export function isOwnName(name: string): boolean {
  return EXACTLY.includes(name) || BEGINNINGS.some((beginning) => name.startsWith(beginning));
}
