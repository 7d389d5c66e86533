/**
 * Watches a configuration for changes by looking at its files twice a second: unlike change notifications, that sees a
 * replaced symbolic link, a network file system, and a folder that was away.
 */

import { identifyConfig } from "./config_files.ts";

const LOOK_INTERVAL_MS = 500;

/**
 * Calls `changed` after every change of the files until `signal` aborts, one call at a time. `known` is what
 * {@linkcode identifyConfig} gave before they were last read. `look` looks at once, and resolves when every change made
 * before the call has been handled; `read` calls `changed` even without a change.
 */
export function watchConfig(
  path: string,
  known: string | undefined,
  changed: () => Promise<void>,
  signal: AbortSignal,
): { look: () => Promise<void>; read: () => void } {
  let working: Promise<void> | undefined;
  const read = () => {
    if (signal.aborted) return;
    working ??= changed().finally(() => {
      working = undefined;
    });
  };
  const look = () => {
    if (working) return;
    const current = identifyConfig(path);
    if (current === known) return;
    known = current;
    // A missing file is being replaced, or was removed: the last configuration stays in force.
    if (current !== undefined) read();
  };
  const timer = setInterval(look, LOOK_INTERVAL_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  return {
    read,
    look: async () => {
      await working; // it may have read the file before the change
      look();
      await working;
    },
  };
}
