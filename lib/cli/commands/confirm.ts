/** `openme confirm`: keeps what `serve --confirm` would put back. */

import { askServer, NotRunningError } from "../../control/socket.ts";
import { nothingToConfirm } from "../serve/confirmation.ts";
import type { Command } from "../context.ts";
import { loadWhereabouts } from "../load_state.ts";

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
    try {
      await askServer(stateDir, { command: "confirm" });
    } catch (cause) {
      throw cause instanceof NotRunningError ? nothingToConfirm() : cause;
    }
    context.stderr("openme: confirmed: the guard stays");
    return 0;
  },
};
