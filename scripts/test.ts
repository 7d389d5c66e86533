/**
 * `deno task test`: all tests. The end-to-end ones make network namespaces; without root they run in a user namespace,
 * and where that is forbidden too they say that they were skipped (a failure with OPENME_E2E=require).
 */

import { inNamespaces, run } from "./run.ts";

const deno = Deno.execPath();
/** Floods and faults want the machine to themselves. */
const ALONE = "tests/attack";
/** Files at a time: most of what the end-to-end tests do is wait for the kernel's timeouts. */
const JOBS = 2 * navigator.hardwareConcurrency;
const targets = Deno.args.length > 0 ? Deno.args : ["tests", "lib"];
const flags = ["test", "-A", "--doc", "--quiet"];
// Everything is fetched and checked before: inside a namespace there is no network.
const prepared = await run(deno, [...flags, "--no-run", ...targets]);
if (prepared !== 0) Deno.exit(prepared);
const rounds = Deno.args.length > 0
  ? [[...flags, targets.some((each) => each.includes(ALONE)) ? [] : ["--parallel"], ...targets]]
  : [[...flags, "--parallel", `--ignore=${ALONE}`, ...targets], [...flags, ALONE]];
let failed = 0;
for (const round of rounds) {
  const command = [deno, ...round.flat()];
  const [program, ...args] = await inNamespaces(command) ?? command;
  failed ||= await run(program!, args, { DENO_JOBS: String(JOBS) });
}
Deno.exit(failed);
