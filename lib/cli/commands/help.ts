/** `openme help`, and what `openme` alone and `--help` print. */

import { nearest } from "../../config/fields.ts";
import { OpenmeError } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { flagsIn } from "../arguments.ts";
import {
  type Command,
  type Commands,
  type Entry,
  GLOBAL_PARAMETERS,
  type Parameters,
} from "../context.ts";

/** The columns of a small terminal. */
const WIDTH = 80;

export const help: Command = {
  about: "Says what a command does, with an example; without a name, which commands there are.",
  arguments: "[COMMAND]",
  example: "openme help knock",
  run: async (args, context) => {
    const name = args.positionals[0];
    context.stdout(
      name === undefined
        ? renderHelp(context.commands)
        : renderCommandHelp(name, await findCommand(name, context.commands).load()),
    );
    return 0;
  },
};

/** All commands at a glance. */
export function renderHelp(commands: Commands): string {
  const rows = Object.entries(commands).map(([name, { summary }]) =>
    `  ${name.padEnd(10)} ${summary}\n`
  );
  return `openme hides a server's ports until a knock opens them.

Usage: openme COMMAND [ARGUMENTS]

${rows.join("")}
openme help COMMAND says more about each.

${renderGlobalHelp({ "--version": "what this is" })}
Example:
  openme knock home && ssh home.example.org
`;
}

/** One command's help. */
export function renderCommandHelp(name: string, command: Command): string {
  return `${renderOwnHelp(name, command)}\n${renderGlobalHelp()}`;
}

/** One command's help without the flags that every command has. */
export function renderOwnHelp(name: string, command: Command): string {
  const { about, parameters, notes, example } = command;
  const usage = usageOf(command).map((form, i) =>
    wrap(`openme ${name} ${form}`, i === 0 ? "Usage: " : "       ", " ".repeat(15 + name.length))
  );
  return [
    reflow(about),
    usage.join(""),
    ...(parameters ? [renderList(parameters)] : []),
    ...(notes === undefined ? [] : [reflow(notes)]),
    `Example:\n  ${example}\n`,
  ].join("\n");
}

/** The flags that every command has. */
export function renderGlobalHelp(more: Parameters = {}): string {
  return `Everywhere:\n${renderList({ ...GLOBAL_PARAMETERS, ...more })}`;
}

function usageOf({ usage, arguments: names, parameters }: Command): readonly string[] {
  if (usage) return usage;
  const flags = [...flagsIn(parameters)].map(([name, { short, value }]) =>
    `[${short === undefined ? `--${name}` : `-${short}`}${value === undefined ? "" : ` ${value}`}]`
  );
  return [[...(names === undefined ? [] : [names]), ...flags].join(" ")];
}

/** Two columns. */
function renderList(parameters: Parameters): string {
  const width = Math.max(...Object.keys(parameters).map(({ length }) => length));
  return Object.entries(parameters).map(([key, text]) =>
    wrap(text, `  ${key.padEnd(width)}  `, " ".repeat(width + 4))
  ).join("");
}

/** Paragraphs as wide as the terminal; one with an indented line stays as it is. */
function reflow(text: string): string {
  return text.split("\n\n").map((paragraph) =>
    /^ /m.test(paragraph) ? `${paragraph}\n` : wrap(paragraph)
  ).join("\n");
}

/** Breaks a text between words; `first` stands before its first line, `others` before each other one. */
function wrap(text: string, first = "", others = ""): string {
  const lines: string[] = [];
  let line = first;
  let isEmpty = true;
  // A flag and its value in brackets stay together.
  for (const word of text.trim().match(/\[-[^\]]*\]|\S+/g) ?? []) {
    if (!isEmpty && line.length + word.length >= WIDTH) {
      lines.push(line);
      line = others;
      isEmpty = true;
    }
    line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, line].map((each) => `${each.trimEnd()}\n`).join("");
}

/** The command of that name; throws, code `USAGE`, with the one that is meant. */
export function findCommand(name: string, commands: Commands): Entry {
  const found = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (found) return found;
  const similar = nearest(name, Object.keys(commands));
  throw new OpenmeError("USAGE", `unknown command ${quote(name)}`, {
    hint: similar ? `did you mean openme ${similar}?` : "see openme --help",
  });
}
