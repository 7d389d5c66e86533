/** Prints the Debian packages of all programs that are missing here, one a line: what `.ci/run` installs. */

import { absent, ALL_PROGRAMS, packagesOf } from "../../tests/support/programs.ts";
import { print } from "../run.ts";

for (const name of packagesOf(absent(ALL_PROGRAMS), "apt")) print(name);
