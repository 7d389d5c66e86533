/** What every backend owes, by nft. */

import { testConformance } from "./conforms.ts";

testConformance("nft");
