/** The user's own line after a knock, `post_knock` of the profile. Standard output is openme's: the line has stderr. */

import { OpenmeError } from "../values/errors.ts";

/** The user's own line from the user's own file, by `sh -c` as deployed files expect; nothing is put into it. */
export async function runPostKnock(line: string): Promise<void> {
  try {
    const { code, signal } = await new Deno.Command("sh", {
      // The outer shell only turns standard output over and becomes the one that runs the line.
      args: ["-c", 'exec sh -c "$1" >&2', "sh", line],
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn().status;
    if (code !== 0) {
      throw new OpenmeError(
        "COMMAND",
        `post_knock ${signal ? `was ended by ${signal}` : `failed with exit code ${code}`}`,
        {
          hint: "the knock itself was sent",
        },
      );
    }
  } catch (cause) {
    if (cause instanceof OpenmeError) throw cause;
    throw new OpenmeError("COMMAND", "cannot run post_knock: there is no program sh", {
      hint: "the knock itself was sent",
      cause,
    });
  }
}
