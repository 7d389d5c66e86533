/** Edits of the server's configuration file: one at a time, checked before it is written, whole or not at all. */

import { keepGuarded } from "../config/guarded_group.ts";
import { loadingFrom, NAME_PATTERN, nearest } from "../config/reader.ts";
import { parseServerConfig, type ServerConfig } from "../config/server_config.ts";
import { OpenmeError } from "../errors.ts";
import { replaceFile, withFileLock } from "../files.ts";
import { formatPortRange, type PortRange } from "../ports.ts";
import { escapeUnprintable, quote } from "../quote.ts";
import { loadServerConfig } from "./load.ts";

/** A configuration file that nobody else edits at the moment. */
export interface ServerFile {
  readonly config: ServerConfig;
  /** Applies an edit, checks what came out and gives that. */
  readonly edit: (edit: (text: string) => string) => ServerConfig;
  /** Puts what came of the edits in the file's place. */
  readonly save: () => Promise<void>;
  /** Puts back what was there before. */
  readonly restore: () => Promise<void>;
}

/** Runs `work` with the file locked and read afresh, so that of two edits at once none is lost. */
export async function editServerFile<T>(
  path: string,
  work: (file: ServerFile) => Promise<T>,
): Promise<T> {
  await loadServerConfig(path); // before the lock: a missing or broken file gets its own error
  return await withFileLock(path, async () => {
    const { config, text } = await loadServerConfig(path);
    let current = text;
    return await work({
      config,
      edit: (edit) => {
        current = loadingFrom(path, () => edit(current));
        return parseServerConfig(current, path);
      },
      save: () => replaceFile(path, current),
      restore: () => replaceFile(path, text),
    });
  });
}

/**
 * Puts ports that would leave the guard with the last client that names them into a group, and tells so; does nothing
 * where there are none. Gives what to print once it is saved.
 */
export function keepPortsGuarded(
  edit: ServerFile["edit"],
  ports: readonly PortRange[],
  path: string,
): string[] {
  if (ports.length === 0) return [];
  let group = "";
  edit((text) => {
    const kept = keepGuarded(text, ports);
    group = kept.group;
    return kept.text;
  });
  const list = ports.map(formatPortRange).join(", ");
  return [
    `openme: added ${list} to the group ${group} of ${
      escapeUnprintable(path)
    }: guarded also when no client has it`,
  ];
}

/** Throws, code `USAGE`, where `name` is not fit to be printed everywhere. */
export function requireName(name: string, whose: string): void {
  if (NAME_PATTERN.test(name)) return;
  throw new OpenmeError("USAGE", `expected ${whose} name, got ${quote(name)}`, {
    hint: "letters, digits, dots, hyphens and underscores, the first one a letter, at most 64",
  });
}

/** The client of that name; throws where there is none. */
export function requireClient({ clients }: ServerConfig, name: string) {
  const found = clients.find((client) => client.name === name);
  if (found) return found;
  throw noSuchClient(name, clients.map((client) => client.name));
}

/** The error for a name that no client has; `names` are those that there are. */
export function noSuchClient(name: string, names: readonly string[]): OpenmeError {
  const similar = nearest(name, names);
  return new OpenmeError("CONFIG", `there is no client ${quote(name)}`, {
    hint: similar
      ? `did you mean ${similar}?`
      : names.length > 0
      ? "openme list shows them all"
      : "register one: openme add NAME",
  });
}
