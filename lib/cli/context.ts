/** What a subcommand gets from `main.ts`, and what every subcommand shares: its shape, how it reads its flags. */

import { formatDuration, parseDuration } from "../values/duration.ts";
import { OpenmeError } from "../values/errors.ts";
import { createLog, type Log, LOG_FORMATS, LOG_LEVELS, type LogLevel } from "../system/log.ts";
import { escapeUnprintable, quote } from "../values/text.ts";
import type { RunProgram } from "../system/run_program.ts";

/**
 * The exit code where standard output was closed before all of it was written: what a shell shows for a program that
 * SIGPIPE (13) ends, such as cat and ls. Nothing is printed, but it is not 0: the reader may have half a table.
 */
export const OUTPUT_CLOSED = 128 + 13;

/** The edges that a subcommand acts through. */
export interface Context {
  /** Every subcommand that help speaks of. */
  readonly commands: Commands;
  /** Prints data; messages never go here. */
  readonly stdout: (text: string) => void;
  /**
   * Whether what is printed is lost: standard output was closed (the runtime puts /dev/null there), or is a device that
   * keeps nothing. Asked before a private key is printed, which is kept nowhere else.
   */
  readonly outputIsLost: () => Promise<boolean>;
  /** Messages, a line each; systemd's journal is told the level. */
  readonly stderr: (line: string, level?: LogLevel) => void;
  /** A line as it goes to standard error, for code that writes it there itself. */
  readonly forStderr: (line: string, level?: LogLevel) => string;
  /** All of standard input. */
  readonly stdin: () => Promise<Uint8Array>;
  /** Whether a person is watching. */
  readonly interactive: boolean;
  readonly env: (name: string) => string | undefined;
  readonly run: RunProgram;
  /**
   * Aborts on SIGINT and SIGTERM. A second one ends the process at once, unless `mustFinish` gives `true`. Called only by
   * commands that run until they are stopped.
   */
  readonly stopSignal: (mustFinish?: () => boolean) => AbortSignal;
  /** Gives up every permission but these, for good. */
  readonly keepPermissions: (names: readonly PermissionName[]) => Promise<void>;
}

export type PermissionName = "net" | "read" | "write" | "run" | "env" | "sys" | "ffi";

/** One subcommand: a file of its own in `commands/`. Parsing, help, completion and manual come from these fields. */
export interface Command {
  /** What it does, in sentences. */
  readonly about: string;
  /**
   * Its arguments, such as `[PROFILE] HOST PORT`; `...` at the end takes any number. Words in small letters are to be
   * typed as they are, those in capitals stand for something (`commands/complete.ts`).
   */
  readonly arguments?: string;
  /** What help lists: the name of an argument, `--out FILE` or `-4, --ipv4`, and what it does. */
  readonly parameters?: Parameters;
  /** The usage, a line each, where the one that the two above give says too little. */
  readonly usage?: readonly string[];
  /** Paragraphs between the list and the example; lines that begin with spaces stay as they are. */
  readonly notes?: string;
  readonly example: string;
  /** Does it; gives the exit code. */
  readonly run: (args: Arguments, context: Context) => Promise<number>;
}

export type Parameters = Readonly<Record<string, string>>;

/** Subcommands by name. */
export type Commands = Readonly<Record<string, Entry>>;

/** What is known of a subcommand before it is loaded: `knock` must not wait for what `serve` needs. */
export interface Entry {
  readonly summary: string;
  /** What it may use beside memory and its own output. */
  readonly permissions: readonly PermissionName[];
  readonly load: () => Promise<Command>;
}

/** Parsed arguments: every value a text or `true`. */
export interface Arguments {
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
}

/** Flags that every subcommand takes, before its name or after it. */
export const GLOBAL_PARAMETERS: Parameters = {
  "--config FILE": "server's configuration (default /etc/openme/config.yaml)",
  "--client-config FILE": "client's profiles (default ~/.openme/config.yaml)",
  "--log-level LEVEL": "error, warn, info (default) or debug",
  "--log-format FORMAT": "logfmt (default) or json",
  "-h, --help": "this text",
};

/** Parameters that several subcommands have. */
export const PROFILE: Parameters = {
  PROFILE: `which profile of the client configuration (default: the only one, or "default")`,
};
export const STATE_DIR: Parameters = {
  "--state-dir DIR": "where serve keeps its state (default: server.state_dir)",
};

/** The text of a flag, where it is given. */
export function textFlag({ values }: Arguments, name: string): string | undefined {
  const value = values[name];
  return typeof value === "string" ? value : undefined;
}

/** The first of these flags that is given, such as `--out`. */
export function givenFlag({ values }: Arguments, names: readonly string[]): string | undefined {
  const found = names.find((name) => values[name] !== undefined);
  return found === undefined ? undefined : `--${found}`;
}

/** The server's configuration file. */
export function configPath(args: Arguments): string {
  return textFlag(args, "config") ?? "/etc/openme/config.yaml";
}

/** The user's home, where the environment tells it. */
export function homeOf({ env }: Pick<Context, "env">): string | undefined {
  return env("HOME") || env("USERPROFILE") || undefined;
}

/** The client's configuration file. */
export function clientConfigPath(args: Arguments, { env }: Pick<Context, "env">): string {
  const given = textFlag(args, "client-config");
  if (given !== undefined) return given;
  const home = homeOf({ env });
  if (home === undefined) {
    throw new OpenmeError("USAGE", "cannot tell where the profiles are: HOME is not set", {
      hint: "name the file: --client-config FILE",
    });
  }
  return `${home}/.openme/config.yaml`;
}

/** The log that the flags ask for. */
export function logOf(args: Arguments, { stderr }: Pick<Context, "stderr">): Log {
  return createLog({
    level: choiceFlag(args, "log-level", LOG_LEVELS) ?? "info",
    format: choiceFlag(args, "log-format", LOG_FORMATS) ?? "logfmt",
    now: () => new Date(),
    write: stderr,
  });
}

/** A flag whose value is one of these words. */
export function choiceFlag<T extends string>(
  args: Arguments,
  name: string,
  choices: readonly T[],
): T | undefined {
  const value = textFlag(args, name);
  if (value === undefined) return undefined;
  const choice = choices.find((each) => each === value);
  if (choice === undefined) {
    throw flagError(name, choices.join(", ").replace(/, (?=[^,]*$)/, " or "), value);
  }
  return choice;
}

/** A flag that is a duration between two bounds, both included. */
export function durationFlag(
  args: Arguments,
  name: string,
  { minMs, maxMs }: { minMs: number; maxMs: number },
): number | undefined {
  const text = textFlag(args, name);
  if (text === undefined) return undefined;
  const durationMs = parseDuration(text);
  if (durationMs === undefined || durationMs < minMs || durationMs > maxMs) {
    const bounds = `from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
    throw flagError(name, `a duration ${bounds}, such as "30s"`, text);
  }
  return durationMs;
}

/** Reads a port number as people write it; throws, code `USAGE`, with `where` in front. */
export function parsePort(text: string, where = ""): number {
  const port = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65535) return port;
  throw new OpenmeError("USAGE", `${where}expected a port from 1 to 65535, got ${quote(text)}`);
}

/** A flag that is a port number. */
export function portFlag(args: Arguments, name: string): number | undefined {
  const text = textFlag(args, name);
  return text === undefined ? undefined : parsePort(text, `--${name}: `);
}

/** What `--json` prints. */
export function renderJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2).replaceAll(/[^\n\x20-\x7e]/g, escapeUnprintable) +
    "\n";
}

export { isoTime } from "../values/moment.ts";

/** The error for a flag with a wrong value. */
export function flagError(name: string, expected: string, got: string, hint?: string): OpenmeError {
  return new OpenmeError(
    "USAGE",
    `--${name}: expected ${expected}, got ${quote(got)}`,
    { hint },
  );
}
