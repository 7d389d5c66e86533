/**
 * The code of an authenticator app for a knock: of `--code`, of the environment, or asked for. It is asked on the
 * terminal itself where standard input is something else, such as ssh's end of a ProxyCommand. Loaded where one is used.
 */

import type { Code } from "../client/knock.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import type { Context } from "./context.ts";
import { CODE_VARIABLE } from "./network_flags.ts";

const ANSWER_MS = 300_000;
const TERMINAL = "/dev/tty";

/** The code. `given`: of `--code`. Throws `OpenmeError`, code `USAGE`. */
export async function codeFor(
  profile: string,
  given: string | undefined,
  context: Context,
): Promise<Code> {
  const value = given ?? context.env(CODE_VARIABLE);
  const where = given === undefined ? CODE_VARIABLE : "--code";
  if (value !== undefined) return codeOf(value, where);
  return codeOf(await ask(`Code for ${quote(profile)}: `, context), "the code");
}

/** Apps show a space in the middle. A wrong value is not repeated: it may be something else that was pasted. */
function codeOf(text: string, where: string): Code {
  const digits = text.trim().replace(/^(\d{3})[ -](\d{3})$/, "$1$2");
  if (/^\d{6}$/.test(digits)) return { digits: Number(digits), givenMs: performance.now() };
  throw new OpenmeError(
    "USAGE",
    `${where}: expected the 6 digits that the authenticator app shows`,
  );
}

async function ask(question: string, context: Context): Promise<string> {
  if (Deno.stdin.isTerminal() && Deno.stderr.isTerminal()) {
    await Deno.stderr.write(new TextEncoder().encode(question));
    const answer = new Uint8Array(256);
    const count = await Deno.stdin.read(answer);
    return new TextDecoder().decode(answer.subarray(0, count ?? 0));
  }
  // Deno opens no terminal by its name without every permission there is.
  const run = (program: string, args: readonly string[], stdin?: string) =>
    context.run({ program, args, timeoutMs: ANSWER_MS, ...(stdin === undefined ? {} : { stdin }) });
  try {
    await run("tee", [TERMINAL], question);
    return await run("head", ["-n", "1", TERMINAL]);
  } catch (cause) {
    throw new OpenmeError("USAGE", "cannot ask for the code: there is no terminal", {
      hint: `give it with --code 123456, or in ${CODE_VARIABLE}`,
      cause,
    });
  }
}
