/**
 * `deno task compile`: dist/openme, one executable with its permissions baked in. Every subcommand gives up at its start
 * what it does not need (lib/cli/catalog.ts).
 *
 * `run` is not limited to names: a compiled program looks up every name at each start and complains about those that
 * are missing.
 */

import { print, run } from "./run.ts";

const [major = 0, minor = 0] = Deno.version.deno.split(".").map(Number);
const code = await run(Deno.execPath(), [
  "compile",
  "--quiet",
  "--no-prompt",
  "--allow-net",
  "--allow-read",
  "--allow-write",
  "--allow-run",
  "--allow-env",
  "--allow-sys",
  "--allow-ffi",
  // Smaller, and quicker to start; older versions cannot.
  ...(major > 2 || minor >= 9 ? ["--bundle", "--minify"] : []),
  "--output",
  "dist/openme",
  "main.ts",
]);
if (code !== 0) {
  print(
    "compile: Deno could not make the program; without its download host, set DENORT_BIN to a denort of the same version",
  );
}
Deno.exit(code);
