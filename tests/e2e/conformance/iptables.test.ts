/** What every backend owes, by both kinds of iptables. */

import { testConformance } from "./conforms.ts";

testConformance("iptables-nft", "iptables-legacy");
