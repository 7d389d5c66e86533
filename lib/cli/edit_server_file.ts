/** Edits of the server's configuration file: one at a time, checked before it is written, whole or not at all. */

import { hasClient, keepGuarded } from "../config/edit_server.ts";
import { loadingFrom, nearest } from "../config/fields.ts";
import { NAME_PATTERN } from "../values/name.ts";
import { parseServerConfig, type ServerConfig } from "../config/server.ts";
import { OpenmeError } from "../values/errors.ts";
import { replaceFile, withFileLock } from "../system/files.ts";
import { formatPortRange, type PortRange } from "../values/ports.ts";
import { escapeUnprintable, quote } from "../values/text.ts";
import { loadServerConfig } from "./load.ts";

/** A configuration that nobody else edits at the moment. */
export interface ServerFile {
  readonly config: ServerConfig;
  /** Applies an edit to the server's own file, checks what came out and gives that. */
  readonly edit: (edit: (text: string) => string) => ServerConfig;
  /** The same in the file that holds this client, which may be one of `clients.d`. */
  readonly editClient: (name: string, edit: (text: string) => string) => ServerConfig;
  /** The file that holds this client. */
  readonly fileOf: (name: string) => string;
  /** The texts of all files, with the edits. */
  readonly texts: () => string[];
  /** Puts what came of the edits in the files' places. */
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
    const { config, text, people } = await loadServerConfig(path);
    const before = new Map([
      [path, text],
      ...people.map(({ file, text }) => [file, text] as const),
    ]);
    const current = new Map(before);
    const fileOf = (name: string) =>
      [...current].find(([file, text]) => file !== path && hasClient(text, name))?.[0] ?? path;
    const editIn = (file: string, edit: (text: string) => string) => {
      current.set(file, loadingFrom(file, () => edit(current.get(file)!)));
      return parseServerConfig(current.get(path)!, path, {
        people: people.map(({ file }) => ({ file, text: current.get(file)! })),
      });
    };
    /** Writes what differs, the server's file first: a port is in its group before a client leaves. */
    const write = async (wanted: Map<string, string>, there: Map<string, string>) => {
      for (const [file, text] of wanted) {
        if (there.get(file) === text) continue;
        // The files of clients.d hold no secrets: whoever may read them keeps that right.
        const { mode } = await Deno.stat(file);
        await replaceFile(file, text, file === path || mode === null ? {} : { mode: mode & 0o777 });
      }
    };
    return await work({
      config,
      edit: (edit) => editIn(path, edit),
      editClient: (name, edit) => editIn(fileOf(name), edit),
      fileOf,
      texts: () => [...current.values()],
      save: () => write(current, before),
      restore: () => write(before, current),
    });
  });
}

/**
 * Puts ports that would leave the guard with the last client that names them into a group, and tells so; does nothing
 * where there are none. Gives what to print once it is saved.
 */
export function keepPortsGuarded(
  { edit, texts }: Pick<ServerFile, "edit" | "texts">,
  ports: readonly PortRange[],
  path: string,
): string[] {
  if (ports.length === 0) return [];
  let group = "";
  edit((text) => {
    const kept = keepGuarded(text, ports, texts());
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
