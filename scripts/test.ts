/**
 * `deno task test`: all tests. The end-to-end ones make network namespaces; without root they run in a user namespace,
 * and where that is forbidden too they say that they were skipped (a failure with OPENME_E2E=require).
 */

import { inNamespaces, run } from "./run.ts";

const deno = Deno.execPath();
const targets = Deno.args.length > 0 ? Deno.args : ["tests", "lib"];
const command = [deno, "test", "-A", "--doc", "--quiet", "--parallel", ...targets];
// Everything is fetched and checked before: inside a namespace there is no network.
const prepared = await run(deno, ["test", "-A", "--doc", "--no-run", "--quiet", ...targets]);
if (prepared !== 0) Deno.exit(prepared);
const [program, ...args] = await inNamespaces(command) ?? command;
Deno.exit(await run(program!, args));
