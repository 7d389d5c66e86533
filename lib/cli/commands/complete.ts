/** `openme __complete`: what may come next on a command line, for the scripts of `openme completion`. Not in any help. */

import { parseClientValues } from "../../config/profiles.ts";
import { FIREWALLS } from "../../firewall/plan.ts";
import { readSecretFile } from "../../system/read_file.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../../system/log.ts";
import { NAME_PATTERN } from "../../values/name.ts";
import { type Flag, flagsIn } from "../arguments.ts";
import {
  clientConfigPath,
  type Command,
  configPath,
  type Context,
  GLOBAL_PARAMETERS,
  homeOf,
} from "../context.ts";

/** The line that asks the shell to complete file names. */
export const FILES = ":files";

/** What a word in capitals stands for, in usage and help. For any other word nothing is offered. */
const MEANINGS: Readonly<
  Record<string, (values: Values, context: Context) => readonly string[] | Promise<string[]>>
> = {
  FILE: () => [FILES],
  DIR: () => [FILES],
  LEVEL: () => LOG_LEVELS,
  FORMAT: () => LOG_FORMATS,
  FIREWALL: () => FIREWALLS,
  COMMAND: (_, { commands }) => Object.keys(commands),
  PROFILE: readProfileNames,
  CLIENT: readClientNames,
};

type Values = Readonly<Record<string, string>>;

export const complete: Command = {
  about: "Prints what may come next, a line each: the word, and behind a tab what it means.",
  arguments: "[WORD]...",
  example: "openme __complete -- knock ''",
  run: async ({ positionals }, context) => {
    for (const line of await linesAfter(positionals, context)) context.stdout(`${line}\n`);
    return 0;
  },
};

/** `words` end with the one at the cursor, which may be empty. */
async function linesAfter(words: readonly string[], context: Context): Promise<string[]> {
  const { current, command, flags, pending, values, plain } = await read(words, context);
  const [, name = "", begun] = /^--([^=]+)=(.*)$/s.exec(current) ?? [];
  if (begun !== undefined) {
    const found = await mean(flags.get(name)?.value, values, context);
    return found.map((each) => each === FILES ? each : `--${name}=${each}`);
  }
  if (pending !== undefined) return await mean(flags.get(pending)?.value, values, context);
  if (command === undefined) {
    if (plain.length > 0) return []; // no command of that name
    return current.startsWith("-") ? [...describe(flags), "--version\twhat this is"] : Object
      .entries(context.commands).map(([name, { summary }]) => `${name}\t${summary}`);
  }
  const expected = command.arguments?.split(" ")[plain.length];
  const found = current.startsWith("-")
    ? []
    : await mean(expected?.replaceAll(/[[\]]/g, ""), values, context);
  return found.length > 0 || /^[^-]/.test(current) ? found : describe(flags);
}

/** What is offered for `CLIENT|ADDRESS` or `bash|zsh|fish`: words in small letters stand for themselves. */
async function mean(
  text: string | undefined,
  values: Values,
  context: Context,
): Promise<string[]> {
  const found = (text?.split("|") ?? []).map(async (word) => {
    if (word !== word.toUpperCase()) return [word];
    try {
      return await MEANINGS[word]?.(values, context) ?? [];
    } catch {
      return []; // the file is missing, unreadable or wrong, and there is no place to say so
    }
  });
  return (await Promise.all(found)).flat();
}

function describe(flags: ReadonlyMap<string, Flag>): string[] {
  return [...flags].flatMap(([name, { short, text }]) => {
    const meaning = text.split("\n", 1)[0];
    return [
      `--${name}\t${meaning}`,
      ...(short === undefined ? [] : [`-${short}\t${meaning}`]),
    ];
  });
}

/** These come from a file and go to a terminal: only what can be a name passes. */
function namesOf(names: Iterable<string>): string[] {
  return [...names].filter((each) => NAME_PATTERN.test(each));
}

async function readProfileNames(values: Values, context: Context): Promise<string[]> {
  const path = clientConfigPath({ values, positionals: [] }, context);
  const file = await parseClientValues(await readSecretFile(path, { missingHint: "" }), path);
  return namesOf((file as Map<string, Map<string, unknown>>).get("profiles")!.keys());
}

async function readClientNames(values: Values): Promise<string[]> {
  const { loadServerConfig } = await import("../load.ts");
  const { config } = await loadServerConfig(configPath({ values, positionals: [] }));
  return namesOf(config.clients.map(({ name }) => name));
}

/** Reads what was typed so far. `pending` is a flag that waits for its value, `plain` are the arguments. */
async function read(words: readonly string[], context: Context) {
  const values: Record<string, string> = {};
  const plain: string[] = [];
  let command: Command | undefined;
  let flags = flagsIn(GLOBAL_PARAMETERS);
  let pending: string | undefined;
  for (const word of words.slice(0, -1)) {
    if (word === "=" && pending !== undefined) continue; // bash makes three words of --flag=value
    const [, name = "", value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    const isFlag = word.startsWith("-") && word !== "-";
    const given = isFlag ? value : word;
    const of = isFlag ? name : pending;
    pending = isFlag && value === undefined && flags.get(name)?.value !== undefined
      ? name
      : undefined;
    if (given !== undefined && of !== undefined) {
      values[of] = given.replace(/^~(?=\/)/, () => homeOf(context) ?? "~"); // as it was typed
    } else if (!isFlag && (command || plain.length > 0)) {
      plain.push(word);
    } else if (!isFlag && Object.hasOwn(context.commands, word)) {
      command = await context.commands[word]!.load();
      flags = flagsIn({ ...command.parameters, ...GLOBAL_PARAMETERS });
    } else if (!isFlag) plain.push(word);
  }
  return { current: words.at(-1) ?? "", command, flags, pending, values, plain };
}
