/** What the steps of `openme setup` are done with: systemd's programs, and openme's own commands in this process. */

import { parseArguments } from "../arguments.ts";
import type { Command, Context } from "../context.ts";
import type { Tools } from "../setup/perform.ts";
import { OpenmeError } from "../../values/errors.ts";
import { stoppedError } from "../setup/terminal.ts";
import { add } from "./add.ts";
import { confirm } from "./confirm.ts";
import { init } from "./init.ts";
import { uninstall } from "./uninstall.ts";

const COMMANDS: Readonly<Record<string, Command>> = { add, confirm, init, uninstall };

/**
 * A context in which what setup has begun is ended: SIGINT, SIGTERM and SIGHUP abort `signal` and reach none of the
 * programs that it runs, and Ctrl-Z does nothing.
 */
export function sheltered(context: Context): { context: Context; signal: AbortSignal } {
  const controller = new AbortController();
  const stop = () => controller.abort(stoppedError());
  context.stopSignal(() => true).addEventListener("abort", stop);
  Deno.addSignalListener("SIGHUP", stop);
  Deno.addSignalListener("SIGTSTP", () => {});
  const run: Context["run"] = (what) => context.run({ ...what, killsChildren: true });
  return { context: { ...context, run }, signal: controller.signal };
}

/** `tell` is given each step, and what the commands say beside what comes next: setup does that itself. */
export function toolsFor(context: Context, tell: (line: string) => void): Tools {
  return {
    run: context.run,
    tell,
    openme: async ([name, ...args]) => {
      const command = COMMANDS[name]!;
      const said: string[] = [];
      const code = await command.run(parseArguments(command, name, args), {
        ...context,
        stderr: (line) => {
          said.push(line);
          if (!line.startsWith("openme: next:")) tell(line);
        },
      });
      if (code === 0) return;
      const why = said.find((line) => line.startsWith("openme: error: "));
      throw new OpenmeError("STATE", `openme ${name}: ${why?.slice(15) ?? `exit code ${code}`}`);
    },
  };
}
