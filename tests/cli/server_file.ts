/** A server's configuration as its manual makes it: by `openme init` and `openme add`. */

import assert from "node:assert/strict";
import { openme } from "./program.ts";

/** `openme init` for a new configuration in `dir`; returns the path of the file. */
export async function init(
  dir: string,
  args: readonly string[] = ["--server", "box.example"],
): Promise<string> {
  const config = `${dir}/config.yaml`;
  const { code, stderr } = await openme(["init", "--config", config, ...args]);
  assert.equal(code, 0, stderr);
  return config;
}

/** `openme add NAME`; returns what it printed. */
export async function add(
  config: string,
  name: string,
  args: readonly string[] = [],
): Promise<string> {
  const { code, stdout, stderr } = await openme(["add", name, "--config", config, ...args]);
  assert.equal(code, 0, stderr);
  return stdout;
}
