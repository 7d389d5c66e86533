/** The command line of a subcommand, read by its own table of parameters. */

import { nearest } from "../config/fields.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../system/log.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import {
  type Arguments,
  choiceFlag,
  type Command,
  flagError,
  GLOBAL_PARAMETERS,
  type Parameters,
} from "./context.ts";

/** A flag by its long name. */
export interface Flag {
  readonly short: string | undefined;
  /** What its value is called, such as `FILE`; `undefined` where it takes none. */
  readonly value: string | undefined;
  readonly text: string;
}

/** The flags among some parameters. */
export function flagsIn(parameters: Parameters = {}): Map<string, Flag> {
  return new Map(
    Object.entries(parameters).flatMap(([key, text]): [string, Flag][] => {
      const [, short, name, value] = /^(?:-(.), )?--(\S+)(?: (\S+))?$/.exec(key) ?? [];
      return name === undefined ? [] : [[name, { short, value, text }]];
    }),
  );
}

/** Parses a subcommand's arguments; throws `OpenmeError`, code `USAGE`. */
export function parseArguments(command: Command, name: string, args: readonly string[]): Arguments {
  const flags = flagsIn({ ...command.parameters, ...GLOBAL_PARAMETERS });
  const expected = command.arguments?.split(" ") ?? [];
  // Flags of that name are the server's; here the profile is an argument.
  const hint = args.includes("--profile") && expected.includes("[PROFILE]")
    ? `the profile goes without a flag: openme ${name} PROFILE`
    : `see openme ${name} --help`;
  const parsed = readArguments(args, flags, hint);
  const { values, positionals } = parsed;
  const extra = positionals[expected.at(-1)?.endsWith("...") ? Infinity : expected.length];
  if (extra !== undefined) {
    throw new OpenmeError("USAGE", `openme ${name}: unexpected argument ${quote(extra)}`, { hint });
  }
  const needed = expected.filter((each) => !each.startsWith("["));
  if (positionals.length < needed.length && !values["help"]) {
    throw new OpenmeError("USAGE", `openme ${name} needs ${needed.join(" and ")}`, { hint });
  }
  // An empty path is most often a variable of a script that is not set.
  for (const name of ["config", "client-config", "state-dir"]) {
    if (values[name] !== "") continue;
    throw flagError(name, "a path", "", "leave it out to use the default");
  }
  // Checked for every command, also for one that logs nothing.
  choiceFlag(parsed, "log-level", LOG_LEVELS);
  choiceFlag(parsed, "log-format", LOG_FORMATS);
  return parsed;
}

/** Own code, since `node:util` costs a knock a quarter of its time. The last of two values counts. */
function readArguments(
  args: readonly string[],
  flags: ReadonlyMap<string, Flag>,
  hint: string,
): Arguments {
  const values: Record<string, string | boolean> = Object.create(null);
  const positionals: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") return { values, positionals: [...positionals, ...args.slice(i + 1)] };
    const [, long, inline] = /^--([^=]*)(?:=(.*))?$/s.exec(arg) ?? [];
    if (long !== undefined) {
      const flag = flags.get(long);
      if (!flag) throw unknownOption(`--${long}`, [...flags.keys()], hint);
      const wrong = (what: string) =>
        new OpenmeError("USAGE", `option --${long} ${what}`, { hint });
      if (flag.value === undefined) {
        if (inline !== undefined) throw wrong("takes no value");
        values[long] = true;
        continue;
      }
      const value = inline ?? args[++i];
      // What looks like another flag is more likely a forgotten value than one.
      if (value === undefined || (inline === undefined && /^-./s.test(value))) {
        throw wrong("needs a value");
      }
      values[long] = value;
    } else if (arg.startsWith("-") && arg !== "-") {
      for (const letter of arg.slice(1)) {
        const name = [...flags.keys()].find((each) => flags.get(each)!.short === letter);
        if (name === undefined) throw unknownOption(`-${letter}`, [...flags.keys()], hint);
        values[name] = true;
      }
    } else positionals.push(arg);
  }
  return { values, positionals };
}

/** The error for a flag that there is not, with the one that is meant. */
export function unknownOption(option: string, names: readonly string[], hint: string): OpenmeError {
  const similar = nearest(option.replace(/^-+/, ""), names);
  return new OpenmeError("USAGE", `unknown option ${quote(option)}`, {
    hint: similar ? `did you mean --${similar}?` : hint,
  });
}
