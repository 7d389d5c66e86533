/** The program under test: `main.ts` run by this Deno, or the binary that OPENME_BIN names. */

import { fileURLToPath } from "node:url";

const binary = Deno.env.get("OPENME_BIN");
const main = fileURLToPath(new URL("../../main.ts", import.meta.url));
const run = [Deno.execPath(), "run", "--cached-only", "-A"];

/**
 * How openme is started here; a binary may be named relative to the current folder. `--cached-only`: where Deno has no
 * registry entry of a package in its cache, it asks for one at every start and tells so on stderr.
 */
export const OPENME: readonly string[] = binary ? [Deno.realPathSync(binary)] : [...run, main];

/** openme on a system without glibc: every look at /proc and at rules is a program, which a test can replace. */
export const OPENME_WITHOUT_LIBC: readonly string[] = [...run, "--deny-ffi", main];
