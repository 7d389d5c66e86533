/** Loads the server's configuration for the subcommands, and finds the state directory of `serve`. */

import {
  DEFAULT_STATE_DIR,
  type ParseOptions,
  parseServerConfig,
  parsingServerConfig,
  type ServerConfig,
  type SourceFile,
} from "../config/server.ts";
import { clientsFolder, listClientFiles } from "../system/config_files.ts";
import {
  loadError,
  readSecretFile,
  readSharedFile,
  requireUnwritable,
} from "../system/read_file.ts";
import { inSlices } from "../system/slices.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { escapeUnprintable, hideSecrets, quote } from "../values/text.ts";
import { type Arguments, configPath, type Context, textFlag } from "./context.ts";
import { join } from "node:path";
import { DATABASE_NAME } from "../state/names.ts";

/** A configuration, with the texts that it was read from: its file, and those of `clients.d` beside it. */
export interface LoadedConfig {
  readonly config: ServerConfig;
  readonly text: string;
  /** The files of `clients.d`. */
  readonly people: readonly SourceFile[];
}

/** The server's configuration in `path`. */
export async function loadServerConfig(path: string): Promise<LoadedConfig> {
  const text = await readServerText(path);
  const people = await readPeople(path);
  return { config: await withCodes(parseServerConfig(text, path, { people })), text, people };
}

/** The configuration for a server that runs with another one: read in slices, so that it goes on receiving. */
export async function reloadServerConfig(
  path: string,
  running: Required<Pick<ParseOptions, "boundPort" | "former">>,
): Promise<ServerConfig> {
  const text = await readServerText(path);
  const people = await readPeople(path);
  return await withCodes(await inSlices(parsingServerConfig(text, path, { ...running, people })));
}

/** The configuration, and the library for codes where a client has `totp`. */
async function withCodes(config: ServerConfig): Promise<ServerConfig> {
  if (!config.clients.some(({ rules }) => rules?.totp !== undefined)) return config;
  const { loadCodes } = await import("../config/codes.ts");
  return { ...config, codeAt: await loadCodes() };
}

/** The text of the server's own file. Throws `OpenmeError`, code `CONFIG`, where it cannot be read. */
export async function readServerText(path: string): Promise<string> {
  return await readSecretFile(path, { missingHint: await missingHint() });
}

/** A machine with profiles and no server's configuration is most likely a client. */
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
    let text = await readSharedFile(file);
    // A secret that others can read is none.
    if (text && /\btotp\b/.test(text)) text = await readSecretFile(file, { missingHint: "" });
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

/**
 * The state directory of `--state-dir`, else of the configuration; a running `serve` does not mind a mistake in that
 * file, so `openme confirm` must not either: it is then searched for `state_dir` alone, and `config` is `undefined`.
 * Throws `OpenmeError` where there is no file to look into.
 */
export async function findState(
  args: Arguments,
  { stderr }: Pick<Context, "stderr">,
): Promise<{ readonly stateDir: string; readonly config: ServerConfig | undefined }> {
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

/**
 * The state directory of `--state-dir`, which must hold a state, else the configuration's, which may be empty before the
 * first `serve`. Throws `OpenmeError`, code `STATE`.
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
    // Any other fault is told by the command that reads the state.
    if (!(cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory)) {
      return;
    }
    throw new OpenmeError("STATE", `there is no state of openme in ${quote(given, 1000)}`, {
      ...(config && { hint: `without --state-dir it is the configuration's: ${config.stateDir}` }),
      cause,
    });
  }
}
