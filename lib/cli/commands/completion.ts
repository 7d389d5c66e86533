/** `openme completion`: a script by which bash, zsh or fish asks `openme __complete` what may come next. */

import type { Command } from "../context.ts";
import { OpenmeError } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { FILES } from "./complete.ts";

const NOTE = "# Completion for openme; made by: openme completion";

const SCRIPTS: Readonly<Record<string, string>> = {
  // Where COMPREPLY is empty, readline completes file names.
  bash: `${NOTE} bash
_openme() {
  local word="\${COMP_WORDS[COMP_CWORD]}" lines
  lines=$(openme __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" < /dev/null 2> /dev/null | cut -f 1) || lines=""
  [ "$word" != = ] || word="" # --flag=value is three words here
  COMPREPLY=($(compgen -W "\${lines/${FILES}/}" -- "$word")) || COMPREPLY=()
}
complete -o default -F _openme openme
`,
  zsh: `#compdef openme
${NOTE} zsh
_openme() {
  local -a lines
  lines=("\${(@f)$(openme __complete -- "\${(@Q)words[2,CURRENT]}" < /dev/null 2> /dev/null)}")
  local files=\${lines[(I)${FILES}]}
  lines=("\${(@)\${(@)lines:#${FILES}}/$'\\t'/:}")
  _describe openme lines
  (( files )) && { compset -P '--[^=]#=' ; _files }
}
if [ "\${funcstack[1]}" = _openme ]; then _openme "$@"; else compdef _openme openme; fi
`,
  fish: `${NOTE} fish
function __openme_complete
  command -q openme; or return
  set -l word (commandline -ct)
  set -l lines (openme __complete -- (commandline -opc)[2..-1] "$word" < /dev/null 2> /dev/null)
  string match -v -- ${FILES} $lines
  contains -- ${FILES} $lines; or return
  set -l flag (string match -r '^--[^=]+=' -- $word)
  __fish_complete_path (string replace -- "$flag" '' $word) | string replace -r -- '^' "$flag"
end
complete -c openme -f -a '(__openme_complete)'
`,
};

export const completion: Command = {
  about:
    `Prints a script that completes commands, flags and their values, and the names of profiles and
clients where their file can be read: clients' in root's shell.`,
  arguments: "bash|zsh|fish",
  notes: `  bash: openme completion bash | sudo tee /etc/bash_completion.d/openme > /dev/null
  zsh:  mkdir -p ~/.zfunc && openme completion zsh > ~/.zfunc/_openme   (a folder of $fpath, before compinit)
  fish: mkdir -p ~/.config/fish/completions && openme completion fish > ~/.config/fish/completions/openme.fish`,
  example: "openme completion bash | sudo tee /etc/bash_completion.d/openme > /dev/null",
  run: ({ positionals }, context) => {
    const [shell = ""] = positionals;
    if (!Object.hasOwn(SCRIPTS, shell)) {
      throw new OpenmeError(
        "USAGE",
        `openme completion: expected bash, zsh or fish, got ${quote(shell)}`,
        { hint: "openme completion bash" },
      );
    }
    context.stdout(SCRIPTS[shell]!);
    return Promise.resolve(0);
  },
};
