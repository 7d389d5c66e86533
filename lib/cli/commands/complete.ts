/** `openme __complete`: the names that the completion scripts offer, a line each. No help speaks of it. */

import { parseClientValues } from "../../config/profiles.ts";
import { NAME_PATTERN } from "../../values/name.ts";
import { readSecretFile } from "../../system/read_file.ts";
import {
  clientConfigPath,
  type Command,
  configPath,
  type Context,
  GLOBAL_OPTIONS,
  homeOf,
} from "../context.ts";

/** What comes next: a client's or a profile's name, or one of some words; by the command and the words behind it. */
export const NEXT: Readonly<Record<string, "profiles" | "clients" | readonly string[]>> = {
  knock: "profiles",
  connect: "profiles",
  status: "profiles",
  doctor: "profiles",
  keygen: "profiles",
  profiles: ["rename", "remove"],
  "profiles rename": "profiles",
  "profiles remove": "profiles",
  revoke: "clients",
  rename: "clients",
  rotate: "clients",
  close: "clients",
  "history --client": "clients",
};

export const complete: Command = {
  summary: "print what may come next",
  help: "Usage: openme __complete -- WORDS TYPED BEFORE\n",
  options: {},
  positionals: Infinity,
  run: async ({ positionals }, context) => {
    try {
      const names = await namesAfter(positionals, context);
      // What a file holds reaches a terminal: nothing but names.
      for (const name of names.filter((each) => NAME_PATTERN.test(each))) {
        context.stdout(`${name}\n`);
      }
    } catch {
      // A file that is not there, not to be read or wrong: nothing to offer, and no place to say why.
    }
    return 0;
  },
};

async function namesAfter(words: readonly string[], context: Context): Promise<readonly string[]> {
  const { next, values } = await readWords(words, context);
  const what = Object.hasOwn(NEXT, next) ? NEXT[next]! : [];
  const args = { values, positionals: [] };
  if (what === "profiles") {
    const path = clientConfigPath(args, context);
    const file = await parseClientValues(await readSecretFile(path, { missingHint: "" }), path);
    return [...(file as Map<string, Map<string, unknown>>).get("profiles")!.keys()];
  }
  if (what !== "clients") return what;
  const { loadServerConfig } = await import("../load.ts");
  const { config } = await loadServerConfig(configPath(args));
  return config.clients.map(({ name }) => name);
}

/** The key of {@linkcode NEXT}, and the flags that were given a value. */
async function readWords(words: readonly string[], context: Context) {
  const { commands } = context;
  const values: Record<string, string> = {};
  const plain: string[] = [];
  let options = GLOBAL_OPTIONS;
  let flag: string | undefined;
  for (const word of words) {
    if (word === "=" && flag !== undefined) continue; // bash makes three words of --flag=value
    const [, name = "", value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    const isFlag = word.startsWith("-") && word !== "-";
    const given = isFlag ? value : word;
    const of = isFlag ? name : flag;
    flag = isFlag && value === undefined && options[name]?.type === "string" ? name : undefined;
    if (given !== undefined && of !== undefined) {
      values[of] = given.replace(/^~(?=\/)/, () => homeOf(context) ?? "~"); // as it was typed
    } else if (!isFlag) {
      plain.push(word);
      const load = plain.length === 1 && Object.hasOwn(commands, word) ? commands[word] : undefined;
      if (load) options = { ...(await load()).options, ...GLOBAL_OPTIONS };
    }
  }
  const next = flag === undefined ? plain.join(" ") : `${plain[0]} --${flag}`;
  return { next, values };
}
