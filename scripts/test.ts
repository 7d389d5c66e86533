/**
 * `deno task test [--offline] [--no-check] [FILE...]`: all tests, or those files. What they start that is missing here is
 * fetched, if Debian's or Ubuntu's packages are in reach. The end-to-end ones make network namespaces; without root they
 * run in a user namespace, and where that is forbidden too they say that they were skipped (a failure with
 * OPENME_E2E=require). `--no-check` leaves out the types: `deno task check` has checked all of them.
 */

import { ALL_PROGRAMS } from "../tests/support/programs.ts";
import { print, run } from "./run.ts";
import { ALLOW_NAMESPACES, setUp, takeOffline } from "./setup/setup.ts";

const deno = Deno.execPath();
/** Floods, and faults under a flood, want the machine to themselves. */
const ALONE = [
  "faults",
  "flood",
  "iptables_flood",
  "reload",
  "rush",
].map((name) => `tests/attack/${name}.test.ts`);
/** Need a compiled openme (OPENME_BIN) or packages (OPENME_PACKAGES): run by name, as .ci/run does. */
const BY_NAME = ["tests/boot", "tests/package"];
/** Files at a time, more than cores: most of what the end-to-end tests do is wait for the kernel's timeouts. */
const JOBS = Math.ceil(2.5 * navigator.hardwareConcurrency);
const NO_CHECK = "--no-check";
const { offline, rest } = takeOffline(Deno.args);
const named = rest.filter((arg) => arg !== NO_CHECK);
const targets = named.length > 0 ? named : ["tests", "lib"];
const flags = ["test", "-A", "--doc", "--quiet", ...offline ? ["--cached-only"] : []];
const types = rest.includes(NO_CHECK) ? [NO_CHECK] : [];
// Everything is fetched and checked before: inside a namespace there is no network.
const ground = await setUp(ALL_PROGRAMS, { offline });
for (
  const prepare of [[...flags, ...types, "--no-run", ...targets], ["cache", "--quiet", "main.ts"]]
) {
  const failed = await run(deno, prepare);
  if (failed !== 0) Deno.exit(failed);
}
if (!ground.namespaces) print(`No end-to-end tests here: that ${ALLOW_NAMESPACES}.`);
const parallel = named.some((each) => each.includes("tests/attack")) ? [] : ["--parallel"];
const rounds = named.length > 0
  ? [[...parallel, ...named]]
  : [["--parallel", `--ignore=${[...ALONE, ...BY_NAME]}`, ...targets], ALONE];
let failed = 0;
for (const round of rounds) {
  // Without --no-check Deno would check the types of each round again.
  failed ||= await ground.run([deno, ...flags, NO_CHECK, ...round], { DENO_JOBS: String(JOBS) });
}
Deno.exit(failed);
