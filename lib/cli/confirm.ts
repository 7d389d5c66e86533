/** `openme confirm`: keeps what `serve --confirm` would put back. */

import { OpenmeError } from "../errors.ts";
import { isLocked } from "../state/lock.ts";
import { confirmWaiting } from "./confirmation.ts";
import type { Command } from "./context.ts";
import { loadWhereabouts } from "./load_state.ts";

export const confirm: Command = {
  summary: "keep what serve --confirm would put back",
  help: `Tells the openme serve that waits for it (serve --confirm) that you can still get in.

Usage: openme confirm [--state-dir DIR]

  --state-dir DIR   where serve keeps its state (default: server.state_dir)

Example:
  sudo openme confirm
`,
  options: { "state-dir": { type: "string" } },
  positionals: 0,
  run: async (args, context) => {
    const { stateDir } = await loadWhereabouts(args, context);
    // A file that a dead process left is nobody's wait.
    if (!isLocked(stateDir) || !confirmWaiting(stateDir)) {
      throw new OpenmeError("STATE", "no openme serve waits for a confirmation", {
        hint: "it was confirmed already, or its time ran out and everything was put back",
      });
    }
    context.stderr("openme: confirmed: the guard stays");
    return 0;
  },
};
