/** `openme completion`: a script that lets bash, zsh or fish complete command lines. Names it asks openme for. */

import { OpenmeError } from "../../values/errors.ts";
import { FIREWALLS } from "../../firewall/plan.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../../system/log.ts";
import { quote } from "../../values/text.ts";
import { NEXT } from "./complete.ts";
import type { Command, Commands } from "../context.ts";
import { type FlagText, flagTextsOf } from "../help_texts.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = typeof SHELLS[number];

export const completion: Command = {
  summary: "print a completion script for bash, zsh or fish",
  help:
    `Prints a script that completes commands, flags and their values, and the names of profiles and clients where
their file can be read: clients' in root's shell.

Usage: openme completion bash|zsh|fish

  bash: openme completion bash | sudo tee /etc/bash_completion.d/openme > /dev/null
  zsh:  mkdir -p ~/.zfunc && openme completion zsh > ~/.zfunc/_openme   (a folder of $fpath, before compinit)
  fish: mkdir -p ~/.config/fish/completions && openme completion fish > ~/.config/fish/completions/openme.fish

Example:
  openme completion bash | sudo tee /etc/bash_completion.d/openme > /dev/null
`,
  options: {},
  positionals: 1,
  run: async (args, context) => {
    const name = args.positionals[0];
    const shell = SHELLS.find((each) => each === name);
    if (!shell) {
      const got = name === undefined ? "" : `, got ${quote(name)}`;
      throw new OpenmeError("USAGE", `openme completion: expected bash, zsh or fish${got}`, {
        hint: "openme completion bash",
      });
    }
    context.stdout(RENDER[shell](await describeCommands(context.commands)));
    return 0;
  },
};

interface CommandText {
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly FlagText[];
  /** Words that it takes. */
  readonly words: readonly string[];
}

async function describeCommands(commands: Commands): Promise<CommandText[]> {
  return await Promise.all(
    Object.entries(commands).map(async ([name, load]) => {
      const command = await load();
      return {
        name,
        summary: command.summary,
        flags: flagTextsOf(command),
        words: wordsOf(name, commands),
      };
    }),
  );
}

function wordsOf(name: string, commands: Commands): readonly string[] {
  if (name === "completion") return SHELLS;
  if (name === "help") return Object.keys(commands);
  return name === "import" ? ["fwknop", "knockd"] : [];
}

/** Whether openme is asked for what comes behind a command or, with `flag`, for its value. */
function asksFor(command: string, flag?: string): boolean {
  return Object.hasOwn(NEXT, flag === undefined ? command : `${command} --${flag}`);
}

/** The words that a flag's value can be, what else it is the name of, or nothing that could be known. */
function valuesOf(
  { name, value }: FlagText,
  command = "",
): readonly string[] | "file" | "names" | undefined {
  if (asksFor(command, name)) return "names";
  if (name === "log-level") return LOG_LEVELS;
  if (name === "log-format") return LOG_FORMATS;
  if (name === "firewall") return FIREWALLS;
  return value === "FILE" || value === "DIR" ? "file" : undefined;
}

/** What may stand before the command. */
const GLOBAL_FLAGS: readonly FlagText[] = [
  ...flagTextsOf({ help: "", options: {} }),
  { name: "version", short: undefined, value: undefined, text: "what this is" },
];

const NOTE = "# Completion for openme; made by: openme completion";

function renderBash(commands: readonly CommandText[]): string {
  const flags = new Map(
    commands.flatMap((command) => command.flags.map((flag) => [flag.name, flag])),
  );
  const withValue = [...flags.values()].filter(({ value }) => value !== undefined);
  const asking = new Set(Object.keys(NEXT).map((words) => words.split(" ", 1)[0]));
  const cases = withValue.map((flag) => {
    const values = valuesOf(flag);
    // Nothing of its own: readline then completes file names.
    const action = Array.isArray(values)
      ? `COMPREPLY=($(compgen -W ${single(values.join(" "))} -- "$word")); `
      : "";
    return `    --${flag.name}) ${action}return ;;`;
  });
  const choices = commands.map(({ name, flags, words }) => {
    const all = [...words, ...flags.flatMap(spellings)];
    return `    ${name}) words=${single(all.join(" "))} ;;`;
  });
  return `${NOTE} bash
_openme() {
  local word="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD - 1]}" command="" words names i
  COMPREPLY=()
  case "$previous" in
${cases.join("\n")}
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
    ${[...new Set(withValue.map(({ name }) => `--${name}`))].join("|")})
      [ "\${COMP_WORDS[i + 1]:-}" = = ] && ((i++)) # --flag=value is three words here
      ((i++)) ;;
    -*) ;;
    *) command="\${COMP_WORDS[i]}"; break ;;
    esac
  done
  case "$command" in
    '') words=${
    single([...commands.map(({ name }) => name), ...GLOBAL_FLAGS.flatMap(spellings)].join(" "))
  } ;;
${choices.join("\n")}
    *) return ;;
  esac
  case "$command $word" in
    *' -'*) ;;
    ${[...asking].map((name) => `'${name} '*`).join("|")})
      names=$(openme __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD-1}" < /dev/null 2> /dev/null) || names=""
      [ "$word" != = ] || word=""
      words="\${names:-$words}" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _openme openme
`;
}

function renderZsh(commands: readonly CommandText[]): string {
  const list = commands.map(({ name, summary }) => `    ${single(`${name}:${summary}`)}`);
  const specsOf = (flags: readonly FlagText[], command?: string) =>
    flags.flatMap((flag) =>
      spellings(flag).map((spelling) => single(zshSpec(flag, spelling, command)))
    );
  const cases = commands.map(({ name, flags, words }) => {
    const rest = asksFor(name)
      ? "'*:name: _openme_names'"
      : words.length > 0
      ? `'*:word:(${words.join(" ")})'`
      : "'*:argument:_files'";
    return `    (${name}) _arguments -S ${[...specsOf(flags, name), rest].join(" ")} ;;`;
  });
  return `#compdef openme
${NOTE} zsh
_openme_names() {
  local -a names
  names=(\${(f)"$(openme __complete -- "\${typed[@]}" "$@" < /dev/null 2> /dev/null)"})
  compadd -a names
}
_openme() {
  local curcontext="$curcontext" state
  local -a line commands typed
  typed=("\${(@Q)words[2,CURRENT-1]}")
  commands=(
${list.join("\n")}
  )
  _arguments -S -C -A '-*' ${specsOf(GLOBAL_FLAGS).join(" ")} \\
    '1:command:->command' '*::argument:->arguments'
  case "$state" in
    (command) _describe -t commands 'openme command' commands ;;
    (arguments)
      case "\${line[1]}" in
${cases.join("\n").replaceAll(/^ {4}/gm, "        ")}
      esac ;;
  esac
}
if [ "\${funcstack[1]}" = _openme ]; then _openme "$@"; else compdef _openme openme; fi
`;
}

/** \`--flag[text]:VALUE:action\`; colons and brackets have a meaning there. */
function zshSpec(flag: FlagText, spelling: string, command?: string): string {
  const text = flag.text.replaceAll(/[\\[\]:]/g, "\\$&");
  if (flag.value === undefined) return `${spelling}[${text}]`;
  const values = valuesOf(flag, command);
  const action = Array.isArray(values)
    ? `(${values.join(" ")})`
    : values === "file"
    ? "_files"
    : values && ` _openme_names ${spelling}`;
  return `${spelling}=[${text}]:${flag.value}:${action ?? ""}`;
}

function renderFish(commands: readonly CommandText[]): string {
  const names = commands.map(({ name }) => name).join(" ");
  const lines = [
    `${NOTE} fish`,
    "function __openme_names",
    "  command -q openme; and openme __complete -- (commandline -opc)[2..-1] $argv < /dev/null 2> /dev/null",
    "end",
    "complete -c openme -f",
    ...commands.map(({ name, summary }) =>
      `complete -c openme -n "not __fish_seen_subcommand_from ${names}" -a ${name} -d ${
        fish(summary)
      }`
    ),
  ];
  const flagLine = (flag: FlagText, when: string, command?: string) => {
    const values = valuesOf(flag, command);
    const argument = flag.value === undefined
      ? ""
      : values === "file"
      ? " -r -F"
      : values === "names"
      ? ` -x -a '(__openme_names --${flag.name})'`
      : ` -x${values ? ` -a ${fish(values.join(" "))}` : ""}`;
    const short = flag.short === undefined ? "" : ` -s ${flag.short}`;
    return `complete -c openme ${when} -l ${flag.name}${short}${argument} -d ${fish(flag.text)}`;
  };
  for (const flag of GLOBAL_FLAGS) {
    lines.push(flagLine(flag, `-n "not __fish_seen_subcommand_from ${names}"`));
  }
  for (const { name, flags, words } of commands) {
    const when = `-n "__fish_seen_subcommand_from ${name}"`;
    for (const flag of flags) lines.push(flagLine(flag, when, name));
    if (asksFor(name)) lines.push(`complete -c openme ${when} -a '(__openme_names)'`);
    if (words.length > 0) lines.push(`complete -c openme ${when} -a ${fish(words.join(" "))}`);
    if (name === "import") lines.push(`complete -c openme ${when} -F`);
  }
  return lines.join("\n") + "\n";
}

const RENDER: Readonly<Record<Shell, (commands: readonly CommandText[]) => string>> = {
  bash: renderBash,
  zsh: renderZsh,
  fish: renderFish,
};

function spellings({ name, short }: FlagText): string[] {
  return short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`];
}

/** A text in single quotes, for bash and zsh. */
function single(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A text in single quotes, for fish. */
function fish(text: string): string {
  return `'${text.replaceAll(/[\\']/g, "\\$&")}'`;
}
