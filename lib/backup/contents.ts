/** What a backup holds, as the files of its archive. docs/living.md lists them for people. */

import { flawIn } from "./flaw.ts";
import { packTar, type TarFile, unpackTar } from "./tar.ts";

/** Counted up when an openme that reads the number before would restore something wrong. */
const FORMAT = 1;

const ABOUT = "backup.json";
const CONFIG = "config.yaml";
const STATE = "state.json";
const REVOKED = "revoked-keys";
/** A file of `clients.d`, as `listClientFiles` finds them: no dot in front, no folder below. */
const PERSON = /^clients\.d\/([^./\0][^/\0]*\.yaml)$/;

/** A file of `clients.d`. */
export interface Person {
  /** Without its folder. */
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  readonly text: string;
}

/** Everything that a server is made of, but its host. */
export interface Backup {
  readonly madeAtMs: number;
  /** The version of openme that made it. */
  readonly madeBy: string;
  /** The name or address by which clients reach the server. */
  readonly host: string | undefined;
  /** The server's own file, private key included. */
  readonly config: string;
  readonly people: readonly Person[];
  /** What `exportState` gave; `undefined` where no server has run yet. */
  readonly state: string | undefined;
  /** The keys that were revoked for the whole fleet, as `RevokedKeys` writes them; empty without any. */
  readonly revokedKeys: string;
}

/** A file of a backup, for people. */
export interface Content {
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  readonly what: string;
}

/** The archive: the same backup gives the same bytes. */
export function packBackup(backup: Backup): Uint8Array<ArrayBuffer> {
  return packTar(filesOf(backup), Math.trunc(backup.madeAtMs / 1000));
}

/** Reads the archive of `file`; throws `OpenmeError` where {@linkcode packBackup} has not made it. */
export function unpackBackup(archive: Uint8Array<ArrayBuffer>, file: string): Backup {
  const wrong = (why: string, hint?: string) => flawIn(file, why, hint);
  const files = new Map(unpackTar(archive)?.map((file) => [file.name, file]));
  const textOf = (name: string) => {
    const file = files.get(name);
    return file && new TextDecoder().decode(file.content);
  };
  const about = parseAbout(textOf(ABOUT));
  const config = textOf(CONFIG);
  if (about === undefined || config === undefined) throw wrong("it is no backup of openme");
  const { format, made_at: madeAt, made_by: madeBy, host } = about;
  if (format !== FORMAT) {
    throw wrong("a newer openme made it", "restore it with that version, or a later one");
  }
  const known = [ABOUT, CONFIG, STATE, REVOKED];
  const people = [...files].filter(([name]) => !known.includes(name)).map(([name, { mode }]) => {
    const person = PERSON.exec(name)?.[1];
    if (person === undefined) throw wrong("it holds a file that no backup has");
    return { name: person, mode, text: textOf(name)! };
  });
  const madeAtMs = Date.parse(String(madeAt));
  if (Number.isNaN(madeAtMs)) throw wrong("it has no date");
  return {
    madeAtMs,
    madeBy: String(madeBy),
    host: typeof host === "string" ? host : undefined,
    config,
    people,
    state: textOf(STATE),
    revokedKeys: textOf(REVOKED) ?? "",
  };
}

/** What it holds, a row a file. */
export function contentsOf(backup: Backup): Content[] {
  return filesOf(backup).map(({ name, content }) => ({
    name,
    size: content.length,
    what: name === ABOUT
      ? "when it was made, by which openme"
      : name === CONFIG
      ? "the configuration, with the server's private key"
      : name === STATE
      ? "who was let in, and when each client was last seen"
      : name === REVOKED
      ? "keys that were revoked for the whole fleet"
      : "clients",
  }));
}

function filesOf(backup: Backup): TarFile[] {
  const { madeAtMs, madeBy, host, config, people, state, revokedKeys } = backup;
  const about = {
    format: FORMAT,
    "made_at": new Date(madeAtMs).toISOString(),
    "made_by": madeBy,
    host,
  };
  const file = (name: string, text: string, mode = 0o600): TarFile => ({
    name,
    mode,
    content: new TextEncoder().encode(text),
  });
  return [
    file(ABOUT, JSON.stringify(about, undefined, 2) + "\n"),
    file(CONFIG, config),
    ...people.map(({ name, mode, text }) => file(`clients.d/${name}`, text, mode)),
    ...(state === undefined ? [] : [file(STATE, state)]),
    ...(revokedKeys === "" ? [] : [file(REVOKED, revokedKeys)]),
  ];
}

function parseAbout(text: string | undefined): Record<string, unknown> | undefined {
  try {
    const about: unknown = JSON.parse(text ?? "");
    return typeof about === "object" && about !== null ? { ...about } : undefined;
  } catch {
    return undefined;
  }
}
