/**
 * Reads the configuration files for the subcommands.
 */

import { parseServerConfig, type ServerConfig } from "../config/server_config.ts";
import { readSecretFile } from "../files.ts";

/** The server's configuration in `path`, with its text. */
export async function loadServerConfig(
  path: string,
): Promise<{ config: ServerConfig; text: string }> {
  const text = await readSecretFile(path, { missingHint: "make one: openme init --server HOST" });
  return { config: parseServerConfig(text, path), text };
}
