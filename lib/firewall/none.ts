/**
 * The backend that touches nothing: openme decides and logs. `serve --dry-run` puts it before the configured backend,
 * to show what that one would have run.
 */

import type { Backend } from "./backend.ts";

/** A backend that does nothing; with `shown`, gives its text for everything that would be run to `show`. */
export function createNoneBackend(
  { shown, show = () => {} }: { shown?: Backend; show?: (text: string) => void } = {},
): Backend {
  const nothing = () => Promise.resolve();
  return {
    name: "none",
    endsByKernel: true,
    install: async (openings) => {
      if (shown) show(await shown.preview(openings));
    },
    apply: (changes) => {
      const text = shown?.previewChanges(changes);
      if (text) show(text);
      return Promise.resolve();
    },
    reconfigure: (plan) => shown?.reconfigure(plan),
    isIntact: () => Promise.resolve(true),
    examine: () => Promise.resolve(undefined),
    list: () => Promise.resolve([]),
    remove: nothing,
    leave: nothing,
    openToEveryone: () => Promise.resolve(undefined),
    preview: () => Promise.resolve(""),
    previewChanges: () => "",
  };
}
