/**
 * What .github/workflows/release.yml runs.
 *
 *     release.ts notes TAG                          checks a tag, and prints what CHANGELOG.md says of it
 *     release.ts assemble BUILT OUTPUT REPOSITORY   puts a release's files into OUTPUT
 */

import { VERSION } from "../lib/values/version.ts";
import { ROOT } from "./package/files.ts";
import { LIBRARIES } from "./package/glibc.ts";
import { sourceEpochSeconds } from "./package/options.ts";
import { assemble, notesOf } from "./package/release.ts";
import { print } from "./run.ts";

const [command, ...args] = Deno.args;
if (command === "notes" && args.length === 1) {
  print(notesOf(args[0]!, VERSION, await Deno.readTextFile(`${ROOT}CHANGELOG.md`)));
} else if (command === "assemble" && args.length === 3) {
  const [built, output, repository] = args as [string, string, string];
  const epochSeconds = await sourceEpochSeconds(ROOT);
  const materials = { version: VERSION, epochSeconds, libraries: LIBRARIES };
  await assemble({ built, output, repository, ...materials });
} else {
  throw new Error("expected notes TAG, or assemble BUILT OUTPUT REPOSITORY");
}
