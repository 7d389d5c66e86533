/** `openme version`: the same as `openme --version`. */

import { VERSION } from "../../values/version.ts";
import type { Command } from "../context.ts";

export const version: Command = {
  about: "Says which version of openme this is.",
  example: "openme version",
  run: (_args, context) => {
    context.stdout(`openme ${VERSION}\n`);
    return Promise.resolve(0);
  },
};
