/**
 * What a subcommand gets from `main.ts`, and what every subcommand shares: its shape, its flags, its errors' wording.
 */

import { nearest } from "../config/fields.ts";
import { formatDuration, parseDuration } from "../values/duration.ts";
import { OpenmeError } from "../values/errors.ts";
import { createLog, type Log, LOG_FORMATS, LOG_LEVELS, type LogLevel } from "../system/log.ts";
import { quote } from "../values/text.ts";
import type { RunProgram } from "../system/run_program.ts";
import { parsePlainArgs, type PlainOptions } from "./parse_args.ts";

/**
 * The exit code where standard output was closed before all of it was written: what a shell shows for a program that
 * SIGPIPE (13) ends, as cat and ls do. Nothing is said, but it is not 0: somebody may have got half a table.
 */
export const OUTPUT_CLOSED = 128 + 13;

/** The world of a subcommand. */
export interface Context {
  /** Every subcommand that help speaks of. */
  readonly commands: Commands;
  /** Data, and nothing but data. */
  readonly stdout: (text: string) => void;
  /**
   * Whether what is printed is lost: standard output was closed (the runtime puts /dev/null there), or is a device that
   * keeps nothing. For what is printed once and kept nowhere.
   */
  readonly outputIsLost: () => Promise<boolean>;
  /** Everything else, a line at a time; systemd's journal is told the level. */
  readonly stderr: (line: string, level?: LogLevel) => void;
  /** A line as it is to be written to standard error by other ways than {@linkcode Context.stderr}. */
  readonly forStderr: (line: string, level?: LogLevel) => string;
  /** All of standard input. */
  readonly stdin: () => Promise<Uint8Array>;
  /** Whether a person is watching. */
  readonly interactive: boolean;
  readonly env: (name: string) => string | undefined;
  readonly run: RunProgram;
  /**
   * Aborts when the process is asked to stop; asked for only by commands that stay. Asked twice, the process ends at
   * once, unless `mustFinish` gives `true` then.
   */
  readonly stopSignal: (mustFinish?: () => boolean) => AbortSignal;
  /** Gives up every permission but these, for good. */
  readonly keepPermissions: (names: readonly PermissionName[]) => Promise<void>;
}

export type PermissionName = "net" | "read" | "write" | "run" | "env" | "sys" | "ffi";

/** One subcommand: a file of its own in this folder. */
export interface Command {
  readonly summary: string;
  readonly help: string;
  readonly options: Options;
  /** The most positional arguments that it takes. */
  readonly positionals: number;
  /** Does it; gives the exit code. */
  readonly run: (args: Arguments, context: Context) => Promise<number>;
}

/** Subcommands by name. Each is loaded only when it is called: `knock` must not wait for what `serve` needs. */
export type Commands = Readonly<Record<string, () => Promise<Command>>>;

export type Options = PlainOptions;

/** Parsed arguments: every value a text or `true`. */
export interface Arguments {
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
}

/** Flags that every subcommand takes, before its name or after it. */
export const GLOBAL_OPTIONS: Options = {
  config: { type: "string" },
  "client-config": { type: "string" },
  "log-level": { type: "string" },
  "log-format": { type: "string" },
  help: { type: "boolean", short: "h" },
};

export const GLOBAL_HELP = `Everywhere:
  --config FILE          the server's configuration (default /etc/openme/config.yaml)
  --client-config FILE   the client's profiles (default ~/.openme/config.yaml)
  --log-level LEVEL      error, warn, info (default) or debug
  --log-format FORMAT    logfmt (default) or json
  -h, --help             this text
`;

/** Parses a subcommand's arguments; throws `OpenmeError`, code `USAGE`. */
export async function parseArguments(
  command: Command,
  name: string,
  args: readonly string[],
): Promise<Arguments> {
  const options: Options = { ...command.options, ...GLOBAL_OPTIONS };
  // Flags of that name are the server's; here the profile is an argument.
  const hint = args.includes("--profile") && /\[PROFILE\]/.test(command.help)
    ? `the profile goes without a flag: openme ${name} PROFILE`
    : `see openme ${name} --help`;
  const parsed = parsePlainArgs(args, options) ?? await parseStrictly(args, options, hint);
  const extra = parsed.positionals[command.positionals];
  if (extra !== undefined) {
    throw new OpenmeError("USAGE", `openme ${name}: unexpected argument ${quote(extra)}`, { hint });
  }
  // An empty text is no path: most often a variable of a script that is not set.
  for (const name of ["config", "client-config", "state-dir"]) {
    if (parsed.values[name] !== "") continue;
    throw flagError(name, "a path", "", "leave it out to use the default");
  }
  // Also where a command logs nothing: whoever sets them means something by it.
  choiceFlag(parsed, "log-level", LOG_LEVELS);
  choiceFlag(parsed, "log-format", LOG_FORMATS);
  return parsed;
}

/** The same with `node:util`, which finds words for what is wrong. */
async function parseStrictly(
  args: readonly string[],
  options: Options,
  hint: string,
): Promise<Arguments> {
  const { parseArgs } = await import("node:util");
  try {
    return parseArgs({
      args: [...args],
      options,
      allowPositionals: true,
      strict: true,
    }) as Arguments;
  } catch (cause) {
    throw usageErrorOf(cause, Object.keys(options), hint);
  }
}

/** The text of a flag, where it is given. */
export function textFlag({ values }: Arguments, name: string): string | undefined {
  const value = values[name];
  return typeof value === "string" ? value : undefined;
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

/** A flag whose value is one of a few words. */
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

/** A flag that is a port number. */
export function portFlag(args: Arguments, name: string): number | undefined {
  const text = textFlag(args, name);
  if (text === undefined) return undefined;
  const port = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65535) throw flagError(name, "a port from 1 to 65535", text);
  return port;
}

/** What `--json` prints. */
export function renderJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2) + "\n";
}

export { isoTime } from "../values/moment.ts";

/** The error for a flag with a wrong value. */
export function flagError(name: string, expected: string, got: string, hint?: string): OpenmeError {
  return new OpenmeError(
    "USAGE",
    `--${name}: expected ${expected}, got ${quote(got)}`,
    hint ? { hint } : {},
  );
}

function usageErrorOf(cause: unknown, names: readonly string[], hint: string): OpenmeError {
  const { code, message } = cause as { code?: string; message: string };
  const option = /'(-[^' ]*)/.exec(message)?.[1] ?? "";
  if (code === "ERR_PARSE_ARGS_UNKNOWN_OPTION") {
    const similar = nearest(option.replace(/^-+/, ""), names);
    return new OpenmeError("USAGE", `unknown option ${quote(option)}`, {
      hint: similar ? `did you mean --${similar}?` : hint,
    });
  }
  if (code === "ERR_PARSE_ARGS_INVALID_OPTION_VALUE") {
    const name = /--[a-z0-9-]+/.exec(message)?.[0] ?? option;
    const problem = message.includes("does not take") ? "takes no value" : "needs a value";
    return new OpenmeError("USAGE", `option ${name} ${problem}`, { hint });
  }
  throw cause;
}
