/**
 * Where the state of `serve` is, for commands that need little else: a slip of the pen in the file, which a running
 * `serve` does not mind, must not stand between its administrator and `openme confirm`.
 */

import { DEFAULT_STATE_DIR, type ServerConfig } from "../config/server.ts";
import { messageOf } from "../values/errors.ts";
import { escapeUnprintable, hideSecrets, quote } from "../values/text.ts";
import { type Arguments, configPath, type Context, textFlag } from "./context.ts";
import { loadServerConfig } from "./load.ts";

/** What is known beside the state. */
export interface Whereabouts {
  readonly stateDir: string;
  /** `undefined` where the file cannot be loaded. */
  readonly config: ServerConfig | undefined;
}

/**
 * The folder of `--state-dir`, whatever the file is like; else that of the file, also of one with something wrong in it,
 * and then says so. Throws `OpenmeError` where there is no file to look into.
 */
export async function loadWhereabouts(
  args: Arguments,
  { stderr }: Pick<Context, "stderr">,
): Promise<Whereabouts> {
  const path = configPath(args);
  const given = textFlag(args, "state-dir");
  try {
    const { config } = await loadServerConfig(path);
    return { config, stateDir: given ?? config.stateDir };
  } catch (cause) {
    if (given !== undefined) return { config: undefined, stateDir: given };
    // One that is missing, or another user's, says nothing: to go on by the default would be to guess.
    const bytes = await Deno.readFile(path).catch(() => {
      throw cause;
    });
    const written = stateDirIn(new TextDecoder().decode(bytes));
    const stateDir = written ?? DEFAULT_STATE_DIR;
    stderr(`openme: warning: ${escapeUnprintable(hideSecrets(messageOf(cause)))}`);
    stderr(
      `openme: going on with the state directory ${quote(stateDir, 1000)}, ${
        written === undefined ? "the default" : "as that file says"
      }`,
    );
    return { config: undefined, stateDir };
  }
}

/** The first `state_dir: …` that is no comment, in a text that may be no YAML. */
export function stateDirIn(text: string): string | undefined {
  const [, double, single, plain] =
    /^(?:[^#\n]*[\s{,])?["']?state_dir["']?[ \t]*:[ \t]+(?:"([^"\n]*)"|'([^'\n]*)'|([^\s"'#][^\n]*?)[ \t\r]*(?:[,}]|[ \t]#|$))/m
      .exec(text) ?? [];
  const found = double ?? single ?? plain;
  return found?.startsWith("/") ? found : undefined;
}
