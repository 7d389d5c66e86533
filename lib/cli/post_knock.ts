/** Runs `post_knock` of a profile after a knock. Its output goes to standard error: standard output is openme's. */

import { OpenmeError } from "../values/errors.ts";

/** Runs the user's own line from the user's own file by `sh -c`, as deployed files expect; nothing is put into it. */
export async function runPostKnock(line: string): Promise<void> {
  try {
    const { code, signal } = await new Deno.Command("sh", {
      // The outer shell redirects standard output, then becomes the one that runs the line.
      args: ["-c", 'exec sh -c "$1" >&2', "sh", line],
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn().status;
    if (code !== 0) {
      throw new OpenmeError(
        "COMMAND",
        `post_knock ${signal ? `was ended by ${signal}` : `failed with exit code ${code}`}`,
        { hint: "the knock itself was sent" },
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
