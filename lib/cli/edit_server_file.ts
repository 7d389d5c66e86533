/** Edits of the server's configuration file: one at a time, checked before it is written, whole or not at all. */

import { hasClient, keepGuarded } from "../config/edit_server.ts";
import { loadingFrom, nearest } from "../config/fields.ts";
import { NAME_PATTERN } from "../values/name.ts";
import { parseServerConfig, type ServerConfig } from "../config/server.ts";
import { OpenmeError } from "../values/errors.ts";
import { replaceFile, withFileLock } from "../system/write_file.ts";
import { formatPortRange, type PortRange } from "../values/ports.ts";
import { escapeUnprintable, quote } from "../values/text.ts";
import { loadServerConfig, readServerText } from "./load.ts";

/** The server's files while they are locked against other edits. */
export interface ServerFile {
  /** As it was before the edits. */
  readonly config: ServerConfig;
  /** Edits the server's own file. */
  readonly edit: (edit: (text: string) => string) => void;
  /** Edits the file that holds this client, which may be one of `clients.d`, and returns its path. */
  readonly editClient: (name: string, edit: (text: string) => string) => string;
  /** The texts of all files, with the edits. */
  readonly texts: () => string[];
  /** The configuration with the edits; throws where it is not a good one. */
  readonly check: () => ServerConfig;
  /** Checks the edits and writes them. */
  readonly save: () => Promise<void>;
  /** Puts back what was there before. */
  readonly restore: () => Promise<void>;
}

/** Runs `work` with the file locked and read afresh, so that of two edits at once none is lost. */
export async function editServerFile<T>(
  path: string,
  work: (file: ServerFile) => Promise<T>,
): Promise<T> {
  await readServerText(path); // before the lock: a missing file gets its own error
  return await withFileLock(path, async () => {
    const { config, text, people } = await loadServerConfig(path);
    const before = new Map([
      [path, text],
      ...people.map(({ file, text }) => [file, text] as const),
    ]);
    const current = new Map(before);
    let checked: ServerConfig | undefined = config;
    const editIn = (file: string, edit: (text: string) => string) => {
      current.set(file, loadingFrom(file, () => edit(current.get(file)!)));
      checked = undefined;
    };
    const check = () =>
      checked ??= parseServerConfig(current.get(path)!, path, {
        former: config,
        people: people.map(({ file }) => ({ file, text: current.get(file)! })),
      });
    /** Writes what differs, the server's file first: a port is in its group before a client leaves. */
    const write = async (wanted: Map<string, string>, there: Map<string, string>) => {
      for (const [file, text] of wanted) {
        if (there.get(file) === text) continue;
        // The files of clients.d hold no secrets: their readers keep the right to read them.
        const { mode } = await Deno.stat(file);
        await replaceFile(file, text, file === path || mode === null ? {} : { mode: mode & 0o777 });
      }
    };
    return await work({
      config,
      edit: (edit) => editIn(path, edit),
      editClient: (name, edit) => {
        const file = people.find(({ file }) => hasClient(current.get(file)!, name))?.file ?? path;
        editIn(file, edit);
        return file;
      },
      texts: () => [...current.values()],
      check,
      save: async () => {
        check();
        await write(current, before);
      },
      restore: () => write(before, current),
    });
  });
}

/** Puts ports that no group has into one, so that they stay guarded without a client. Returns what to print once it is saved. */
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

/** Throws, code `USAGE`, where a name has other characters than the configuration allows. */
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

/** The error for a name that is none of the clients' names. */
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
