/** `openme help`, and what `openme` alone and `--help` print. */

import { nearest } from "../../config/fields.ts";
import { OpenmeError } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { type Command, type Commands, GLOBAL_HELP } from "../context.ts";

export const help: Command = {
  summary: "say more about a command",
  help: `Says what a command does, with an example; without a name, which commands there are.

Usage: openme help [COMMAND]

Example:
  openme help knock
`,
  options: {},
  positionals: 1,
  run: async (args, context) => {
    const name = args.positionals[0];
    context.stdout(
      name === undefined
        ? await renderHelp(context.commands)
        : await renderCommandHelp(name, context.commands),
    );
    return 0;
  },
};

/** All commands at a glance. */
export async function renderHelp(commands: Commands): Promise<string> {
  const rows = await Promise.all(
    Object.entries(commands).map(async ([name, load]) =>
      `  ${name.padEnd(10)} ${(await load()).summary}\n`
    ),
  );
  return `openme hides a server's ports until a knock opens them.

Usage: openme COMMAND [ARGUMENTS]

${rows.join("")}
openme help COMMAND says more about each.

${GLOBAL_HELP}  --version              what this is

Example:
  openme knock home && ssh home.example.org
`;
}

/** One command's help. Throws, code `USAGE`, where there is no such command. */
export async function renderCommandHelp(name: string, commands: Commands): Promise<string> {
  return `${(await findCommand(name, commands)()).help}\n${GLOBAL_HELP}`;
}

/** What loads the command of that name; throws, code `USAGE`, with the one that is meant. */
export function findCommand(name: string, commands: Commands): () => Promise<Command> {
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (load) return load;
  const similar = nearest(name, Object.keys(commands));
  throw new OpenmeError("USAGE", `unknown command ${quote(name)}`, {
    hint: similar ? `did you mean openme ${similar}?` : "see openme --help",
  });
}
