/** `openme confirm`: keeps what `serve --confirm` would put back. */

import { askServer, NotRunningError } from "../../control/socket.ts";
import { nothingToConfirm } from "../serve/confirmation.ts";
import { type Command, STATE_DIR } from "../context.ts";
import { findState } from "../load.ts";

export const confirm: Command = {
  about: "Tells the openme serve that waits for it (serve --confirm) that you can still get in.",
  parameters: STATE_DIR,
  example: "sudo openme confirm",
  run: async (args, context) => {
    const { stateDir } = await findState(args, context);
    try {
      await askServer(stateDir, { command: "confirm" });
    } catch (cause) {
      throw cause instanceof NotRunningError ? nothingToConfirm() : cause;
    }
    context.stderr("openme: confirmed: the guard stays");
    return 0;
  },
};
