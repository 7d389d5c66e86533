/**
 * `deno task test:quick`: the tests that start no program, need no namespace and send no flood, with those that do
 * skipped in the same files. For the inner loop, in under 30 s on two cores; types are left to `deno task check`.
 */

import { run } from "./run.ts";

/** Folders in which nearly all tests run inside the process. */
const FOLDERS = [
  ...["values", "crypto", "config", "receive", "state", "firewall", "system", "health", "control"],
  ...["cli/import", "cli/serve"],
].map((name) => `tests/${name}`);
/** These start programs in nearly all of their tests. */
const LEFT_OUT = ["setup", "packaging"].map((name) => `tests/${name}.test.ts`);

Deno.env.set("OPENME_E2E", "never");
const flags = ["test", "-A", "--doc", "--quiet", "--parallel", "--no-check"];
const targets = ["tests/*.test.ts", ...FOLDERS, "lib"];
Deno.exit(await run(Deno.execPath(), [...flags, `--ignore=${LEFT_OUT}`, ...targets]));
