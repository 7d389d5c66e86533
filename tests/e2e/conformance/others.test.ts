/** What every backend owes, by all that have no file of their own here: pf and none. */

import { CANDIDATES } from "./candidates.ts";
import { testConformance } from "./conforms.ts";

const ELSEWHERE = ["nft", "iptables-nft", "iptables-legacy", "command", "firewalld"];

testConformance(
  ...new Set(CANDIDATES.map(({ name }) => name).filter((name) => !ELSEWHERE.includes(name))),
);
