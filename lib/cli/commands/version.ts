/** `openme version`: the same as `openme --version`. */

import { VERSION } from "../../values/version.ts";
import type { Command } from "../context.ts";

export const version: Command = {
  summary: "say which version this is",
  help: `Says which version of openme this is.

Usage: openme version

Example:
  openme version
`,
  options: {},
  positionals: 0,
  run: (_args, context) => {
    context.stdout(`openme ${VERSION}\n`);
    return Promise.resolve(0);
  },
};
