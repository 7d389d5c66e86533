/** What every backend owes, by firewalld. */

import { testConformance } from "./conforms.ts";

testConformance("firewalld");
