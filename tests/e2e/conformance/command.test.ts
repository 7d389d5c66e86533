/** What every backend owes, by the user's own program. */

import { testConformance } from "./conforms.ts";

testConformance("command");
