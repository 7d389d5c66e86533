/**
 * Reads the server's configuration for the subcommands: the file, and the files of `clients.d` beside it, which hold
 * clients and nothing else.
 */

import { parseServerConfig, type ServerConfig, type SourceFile } from "../config/server.ts";
import { clientsFolder, listClientFiles } from "../system/config_files.ts";
import {
  loadError,
  readSecretFile,
  readSharedFile,
  requireUnwritable,
} from "../system/read_file.ts";

/** A configuration, with the texts that it was read from. */
export interface LoadedConfig {
  readonly config: ServerConfig;
  readonly text: string;
  /** The files of `clients.d`. */
  readonly people: readonly SourceFile[];
}

/** The server's configuration in `path`; `boundPort` is the knock port of a server that runs with it. */
export async function loadServerConfig(path: string, boundPort?: number): Promise<LoadedConfig> {
  const text = await readServerText(path);
  const people = await readPeople(path);
  return { config: parseServerConfig(text, path, { boundPort, people }), text, people };
}

/** The text of the server's own file. Throws `OpenmeError`, code `CONFIG`, where it cannot be read. */
export async function readServerText(path: string): Promise<string> {
  return await readSecretFile(path, { missingHint: await missingHint() });
}

/** Whoever has profiles and no server's configuration has most likely come to the wrong machine. */
async function missingHint(): Promise<string> {
  const make = "make one: openme init --server HOST";
  try {
    const home = Deno.env.get("HOME") || Deno.env.get("USERPROFILE");
    const hasProfiles = home !== undefined &&
      await Deno.stat(`${home}/.openme/config.yaml`).then(({ isFile }) => isFile, () => false);
    return hasProfiles
      ? "this machine looks like a client: it has profiles (openme profiles). Run it on the server; to make this one a " +
        "server: openme init --server HOST"
      : make;
  } catch {
    return make; // a command that may not look at the environment
  }
}

async function readPeople(path: string): Promise<SourceFile[]> {
  const folder = clientsFolder(path);
  const files = list(path, folder);
  if (files.length > 0) await requireUnwritable(folder);
  const people: SourceFile[] = [];
  for (const file of files) {
    const text = await readSharedFile(file);
    // It may have been taken out since the folder was read.
    if (text !== undefined) people.push({ file, text });
  }
  return people;
}

function list(path: string, folder: string): string[] {
  try {
    return listClientFiles(path);
  } catch (cause) {
    throw loadError(folder, cause, { missingHint: "" });
  }
}
