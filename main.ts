/**
 * openme: hides a server's ports until a knock opens them. The composition root: finds the subcommand, gives it the
 * real edges, turns signals into an AbortSignal and errors into lines, and is the only file that exits the process.
 */

import { flagsIn, parseArguments, unknownOption } from "./lib/cli/arguments.ts";
import { COMMANDS, HIDDEN_COMMANDS } from "./lib/cli/catalog.ts";
import {
  type Context,
  GLOBAL_PARAMETERS,
  OUTPUT_CLOSED,
  type PermissionName,
} from "./lib/cli/context.ts";
import { diskTroubleOf, messageOf, OpenmeError } from "./lib/values/errors.ts";
import { escapeUnprintable, hideSecrets } from "./lib/values/text.ts";
import { runProgram } from "./lib/system/run_program.ts";
import { VERSION } from "./lib/values/version.ts";

const ALL_PERMISSIONS = ["net", "read", "write", "run", "env", "sys", "ffi"] as const;

const GLOBAL_FLAGS = flagsIn(GLOBAL_PARAMETERS);

/** Where standard error is systemd's journal, a line has its priority in front. */
const forStderr = await journalPriorities();

/** Set once the reader of standard output has closed it, as `head -1` does. */
let outputIsClosed = false;

const context: Context = {
  commands: COMMANDS,
  stdout: (text) => {
    try {
      writeAll(Deno.stdout, text);
    } catch (cause) {
      outputIsClosed = cause instanceof Deno.errors.BrokenPipe;
      if (outputIsClosed) throw cause; // add takes back what it could not print
      const [why, hint] = diskTroubleOf(cause) ?? [messageOf(cause), undefined];
      throw new OpenmeError("OUTPUT", `cannot write standard output: ${why}`, {
        hint: `see where standard output goes${hint ? `; ${hint}` : ""}`,
        cause,
      });
    }
  },
  outputIsLost: async () => {
    if (Deno.stdout.isTerminal()) return false;
    const { fstatSync } = await import("node:fs");
    try {
      return fstatSync(1).isCharacterDevice();
    } catch {
      return false; // closed: the write itself will fail
    }
  },
  forStderr,
  stderr: (line, level) => {
    try {
      writeAll(Deno.stderr, forStderr(line, level) + "\n");
    } catch {
      // Its reader is gone: a log collector that dies must not take the guard with it.
    }
  },
  stdin: () => new Response(Deno.stdin.readable).bytes(),
  interactive: Deno.stderr.isTerminal(),
  env: (name) => Deno.env.get(name),
  run: runProgram,
  stopSignal,
  keepPermissions: async (names: readonly PermissionName[]) => {
    for (const name of ALL_PERMISSIONS) {
      if (!(names as readonly string[]).includes(name)) await Deno.permissions.revoke({ name });
    }
  },
};

async function journalPriorities() {
  const stream = Deno.env.get("JOURNAL_STREAM");
  const asItIs: Context["forStderr"] = (line) => line;
  if (stream === undefined) return asItIs;
  const { isJournal, withPriority } = await import("./lib/system/journal.ts");
  return isJournal(stream) ? withPriority : asItIs;
}

async function main(args: readonly string[]): Promise<number> {
  const { name, rest } = findCommand(args);
  if (name === undefined) {
    if (rest.includes("--version")) return print(`openme ${VERSION}\n`);
    requireKnownFlags(rest);
    const help = (await import("./lib/cli/commands/help.ts")).renderHelp(COMMANDS);
    if (rest.includes("--help") || rest.includes("-h")) return print(help);
    context.stderr(help.trimEnd());
    return 2;
  }
  const commands = { ...COMMANDS, ...HIDDEN_COMMANDS };
  const isCommand = Object.hasOwn(commands, name);
  // In `--confg FILE knock` it is not FILE that is wrong.
  if (!isCommand) requireKnownFlags(args.slice(0, args.indexOf(name)));
  const { load, permissions } = isCommand
    ? commands[name]!
    : (await import("./lib/cli/commands/help.ts")).findCommand(name, COMMANDS);
  const command = await load();
  const parsed = parseArguments(command, name, rest);
  if (parsed.values["help"]) {
    const { renderCommandHelp } = await import("./lib/cli/commands/help.ts");
    return print(renderCommandHelp(name, command));
  }
  await context.keepPermissions(permissions);
  return await command.run(parsed, context);
}

/** The first argument that is neither a global flag nor its value; and the others. */
function findCommand(args: readonly string[]): { name: string | undefined; rest: string[] } {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (!arg.startsWith("-")) {
      return { name: arg, rest: [...args.slice(0, i), ...args.slice(i + 1)] };
    }
    if (GLOBAL_FLAGS.get(arg.replace(/^--/, ""))?.value !== undefined) i++;
  }
  return { name: undefined, rest: [...args] };
}

/** Throws for the first flag that is none of those that every command takes. */
function requireKnownFlags(args: readonly string[]): void {
  const unknown = args.find((arg) =>
    arg.startsWith("-") && arg !== "-h" && arg !== "--version" &&
    !GLOBAL_FLAGS.has(arg.replace(/^--/, "").replace(/=.*$/s, ""))
  );
  if (unknown === undefined) return;
  throw unknownOption(unknown, [...GLOBAL_FLAGS.keys(), "version"], "see openme --help");
}

function print(text: string): number {
  context.stdout(text);
  return 0;
}

/** Aborts on the first signal; a second one ends the process at once, unless `mustFinish` says that it must not. */
function stopSignal(mustFinish: () => boolean = () => false): AbortSignal {
  const controller = new AbortController();
  for (const [signal, exitCode] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    if (Deno.build.os === "windows" && signal === "SIGTERM") continue;
    Deno.addSignalListener(signal, () => {
      if (controller.signal.aborted && !mustFinish()) Deno.exit(exitCode);
      controller.abort();
    });
  }
  return controller.signal;
}

function writeAll(sink: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let written = 0; written < bytes.length;) written += sink.writeSync(bytes.subarray(written));
}

/** Prints `openme: error: …` and `openme: hint: …`, without keys; gives the exit code. */
function report(error: unknown): number {
  if (outputIsClosed && error instanceof Deno.errors.BrokenPipe) return OUTPUT_CLOSED;
  const shown = (text: string) => escapeUnprintable(hideSecrets(text));
  context.stderr(`openme: error: ${shown(messageOf(error))}`);
  if (!(error instanceof OpenmeError)) return 1;
  if (error.hint !== undefined) context.stderr(`openme: hint: ${shown(error.hint)}`, "error");
  return error.code === "USAGE" ? 2 : 1;
}

Deno.exit(await main(Deno.args).catch(report));
