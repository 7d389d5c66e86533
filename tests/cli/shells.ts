/** The completion scripts in the shells that they are for. */

import assert from "node:assert/strict";
import { must } from "../support/knocks.ts";
import type { Folder } from "../support/folder.ts";
import { OPENME } from "../support/openme_command.ts";
import { bareEnvironment, openme } from "./program.ts";

type Env = Record<string, string>;

/** Runs a program; `undefined` where there is none of that name. */
export async function run(program: string, args: readonly string[], env: Env = {}) {
  try {
    const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args], env })
      .output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch {
    return undefined;
  }
}

/** An environment in which the scripts find `openme`, in the folder. */
export async function withOpenme(folder: Folder): Promise<Env> {
  await folder.write("openme", `#!/bin/sh\nexec ${OPENME.join(" ")} "$@"\n`, 0o700);
  const env = await bareEnvironment({ HOME: folder.path });
  return { ...env, PATH: `${folder.path}:${env["PATH"]}` };
}

async function script(folder: Folder, shell: string): Promise<string> {
  const { code, stdout, stderr } = await openme(["completion", shell]);
  assert.deepEqual([code, stderr], [0, ""]);
  return await folder.write(`openme.${shell}`, stdout);
}

/** What bash completes the last of some words to. */
export async function inBash(folder: Folder, env: Env = {}) {
  const path = await script(folder, "bash");
  return async (...words: string[]): Promise<string[]> => {
    const program = 'set -eu; source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _openme; ' +
      'printf "%s\\n" ${COMPREPLY[@]+"${COMPREPLY[@]}"}';
    const result = must(await run("bash", ["-c", program, path, ...words], env));
    assert.deepEqual([result.code, result.stderr], [0, ""], words.join(" "));
    return result.stdout.split("\n").filter(Boolean);
  };
}

/**
 * Types a line into a real zsh, with its completion system, on a terminal of its own, then Tab and Ctrl-X; prints the
 * matches, a line each, and last what the line has become. The marks are quoted, or their own echo would be taken for them.
 */
const TYPE_INTO_ZSH = String.raw`
zmodload zsh/zpty || exit 1
zpty shell zsh -f -i
zpty -w shell 'PS1= RPS1= PS2=; autoload -Uz compinit; compinit -u -D; source '"$0"
zpty -w shell 'compadd() {
  if [[ " ${"${@[1,(i)(-|--)]}"} " == *" -"[OAD]* ]]; then builtin compadd "$@"; return; fi
  local -a hits; builtin compadd -A hits "$@"; print -rl -- $hits >> '"$2"'; builtin compadd "$@"
}'
zpty -w shell 'tell() { print -r -- "$BUFFER" >> '"$2"'; print -r -- EN"D"; }; zle -N tell; bindkey "^X" tell'
# What is typed before the line editor reads would be taken by the terminal instead.
zpty -w shell 'zle-line-init() { print -r -- READ"Y"; }; zle -N zle-line-init'
zpty -r shell output '*READY*'
zpty -w -n shell "$1"$'\t\C-x'
zpty -r shell output '*END*'
zpty -d shell
`;

/** What zsh matches at the end of a line, and what becomes of the line. */
export async function inZsh(folder: Folder, env: Env = {}) {
  const path = await script(folder, "zsh");
  return async (line: string): Promise<{ matches: string[]; line: string }> => {
    const told = await folder.write("told", "");
    const args = ["20", "zsh", "-f", "-c", TYPE_INTO_ZSH, path, line, told];
    const { code, stdout, stderr } = must(await run("timeout", args, { TERM: "dumb", ...env }));
    assert.deepEqual([code, stdout, stderr], [0, "", ""], line);
    const lines = (await folder.read("told")).trimEnd().split("\n");
    return {
      matches: lines.slice(0, -1).map((each) => each.trim()),
      line: lines.at(-1)!.trimEnd(),
    };
  };
}

/** What fish completes the last word of a line to. */
export async function inFish(folder: Folder, env: Env = {}) {
  const path = await script(folder, "fish");
  return async (line: string) => {
    const program = `source ${path}; complete -C '${line}'`;
    const all = { HOME: folder.path, ...env };
    const result = must(await run("fish", ["--no-config", "-c", program], all));
    assert.deepEqual([result.code, result.stderr], [0, ""]);
    return result.stdout.split("\n").filter(Boolean).map((each) => each.split("\t")[0]);
  };
}
