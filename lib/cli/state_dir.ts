/** Where commands that only look find the state of `serve`. */

import { join } from "node:path";
import type { ServerConfig } from "../config/server.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { DATABASE_NAME } from "../state/names.ts";
import { type Arguments, textFlag } from "./context.ts";

/**
 * The folder: that of `--state-dir`, which must hold a state, else the configuration's, where `serve` may not have run
 * yet. Throws `OpenmeError`, code `STATE`.
 */
export function stateDirOf(args: Arguments, { stateDir }: ServerConfig): string {
  requireState(args, { stateDir });
  return textFlag(args, "state-dir") ?? stateDir;
}

/** Throws `OpenmeError`, code `STATE`, where `--state-dir` names a folder that holds no state. */
export function requireState(
  args: Arguments,
  config: Pick<ServerConfig, "stateDir"> | undefined,
): void {
  const given = textFlag(args, "state-dir");
  if (given === undefined) return;
  try {
    Deno.statSync(join(given, DATABASE_NAME));
  } catch (cause) {
    // What else is wrong with it, whoever reads it says.
    if (!(cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory)) {
      return;
    }
    throw new OpenmeError("STATE", `there is no state of openme in ${quote(given, 1000)}`, {
      ...(config && { hint: `without --state-dir it is the configuration's: ${config.stateDir}` }),
      cause,
    });
  }
}
