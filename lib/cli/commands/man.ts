/** `openme man`: the manual page, made of the same texts as `--help`. */

import { VERSION } from "../../values/version.ts";
import type { Command } from "../context.ts";
import { PROFILE_VARIABLE } from "../load_profile.ts";
import { renderGlobalHelp, renderOwnHelp } from "./help.ts";

export const man: Command = {
  about: "Prints the manual page, openme(1): all of the help in one.",
  notes: `  openme man | man -l -                      reads it here
  sudo mkdir -p /usr/local/share/man/man1    installs it, with the next line
  openme man | sudo tee /usr/local/share/man/man1/openme.1 > /dev/null`,
  example: "openme man | man -l -",
  run: async (_args, context) => {
    const commands = await Promise.all(
      Object.entries(context.commands).map(async ([name, { summary, load }]) => ({
        title: `openme ${name} - ${summary}`,
        help: renderOwnHelp(name, await load()),
      })),
    );
    context.stdout(renderMan(commands));
    return 0;
  },
};

const EXIT_STATUS = [
  ["0", "done"],
  ["1", "failed: the error says why"],
  ["2", "wrong usage: the hint says what is right"],
  ["3", "knocked, but the check or the wait did not succeed"],
] as const;

const FILES = [
  ["/etc/openme/config.yaml", "the server's keys, ports and clients"],
  ["~/.openme/config.yaml", "the client's profiles"],
  ["~/.openme/*.key", "private keys that openme keygen made"],
  ["/var/lib/openme/", "the server's state: nonces, grants and history"],
] as const;

const ENVIRONMENT = [
  [PROFILE_VARIABLE, "a whole profile (YAML, JSON or openme:// link) instead of the client's file"],
  ["HOME", "where the client's file is"],
  ["NO_COLOR", "no colours"],
] as const;

/** The page in the man macros of roff. */
export function renderMan(
  commands: readonly { readonly title: string; readonly help: string }[],
): string {
  const lines = [
    `.TH OPENME 1 "" ${line(`openme ${VERSION}`)} "User commands"`,
    ".SH NAME",
    "openme \\- hides a server's ports until a knock opens them",
    ".SH SYNOPSIS",
    ".B openme",
    ".I COMMAND",
    ".RI [ ARGUMENTS ]",
    ".SH DESCRIPTION",
    "A port looks closed to the whole world until a client sends one encrypted, signed UDP datagram, a knock.",
    "The server never answers anything; it lets that client's address in for a while, and then the kernel shuts the",
    "port again. Connections that are established by then live on.",
    ".SH COMMANDS",
    ...commands.flatMap(({ title, help }) => [`.SS ${line(title)}`, ...verbatim(help)]),
    ".SH OPTIONS",
    ...verbatim(renderGlobalHelp()),
    ".SH EXIT STATUS",
    ...table(EXIT_STATUS),
    ".SH FILES",
    ...table(FILES),
    ".SH ENVIRONMENT",
    ...table(ENVIRONMENT),
  ];
  return lines.map((each) => each + "\n").join("");
}

function verbatim(text: string): string[] {
  return [".nf", ...text.trimEnd().split("\n").map(escape), ".fi"];
}

function table(rows: readonly (readonly [term: string, text: string])[]): string[] {
  return rows.flatMap(([term, text]) => [".TP", `.B ${line(term)}`, escape(text)]);
}

/** The argument of a macro. */
function line(text: string): string {
  return `"${escape(text).replaceAll('"', "\\(dq")}"`;
}

/** Escapes a text for roff: no line becomes a command, `-` stays a minus sign, all is ASCII. */
function escape(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("~", "\\(ti")
    .replaceAll("^", "\\(ha").replaceAll("`", "\\(ga")
    .replaceAll(
      /[^\x20-\x7e]/gu,
      (character) =>
        `\\[u${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`,
    )
    .replace(/^[.']/, "\\&$&");
}
