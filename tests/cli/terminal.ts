/** openme on a terminal of its own, with a person who answers its questions. */

import { within } from "../support/wait.ts";
import { commandLine, type Start } from "./program.ts";

const DEADLINE_MS = 60_000;

/** What the person has, and types: one answer to each question that ends with ": ". */
type Person = Pick<Start, "cwd" | "env"> & { readonly answers: readonly string[] };

/** What has come of it, and what the terminal has shown. */
interface Talk {
  readonly code: number;
  readonly shown: string;
}

/** Runs openme on a terminal. */
export function answering(args: readonly string[], person: Person): Promise<Talk> {
  const words = commandLine(args).map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  return onTerminal(words.join(" "), person);
}

/** Runs a command of the shell's on a terminal. */
export async function onTerminal(
  command: string,
  { cwd, env = {}, answers }: Person,
): Promise<Talk> {
  await using child = new Deno.Command("script", {
    args: ["--quiet", "--return", "--command", `exec ${command}`, "/dev/null"],
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...env },
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const keyboard = child.stdin.getWriter();
  const left = [...answers];
  let shown = "";
  const talk = async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      shown += text;
      if (!shown.endsWith(": ") || left.length === 0) continue;
      await keyboard.write(new TextEncoder().encode(left.shift()));
    }
    return (await child.status).code;
  };
  const code = await within(talk(), DEADLINE_MS, undefined);
  if (code === undefined) throw new Error(`still running; the terminal shows:\n${shown}`);
  await keyboard.close().catch(() => {});
  return { code, shown: shown.replaceAll("\r\n", "\n") };
}
