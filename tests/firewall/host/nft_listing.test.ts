/** Listing the ruleset where a program owns a table: nft's JSON may be cut short there. */

import assert from "node:assert/strict";
import {
  listRuleset,
  parseOwnedTables,
  requireEntries,
} from "../../../lib/firewall/host/nft_listing.ts";
import { parseHostChains } from "../../../lib/firewall/host/read_nft.ts";
import { findBlock } from "../../../lib/firewall/host/trace.ts";
import { namespaceTest } from "../namespace.ts";
import { ranges } from "../support.ts";
import { FIREWALLD } from "./hosts.ts";

namespaceTest("listRuleset() reads on where nft --json is cut short", async (namespace) => {
  await namespace.nft(["-f", "-"], `table inet t {\n${FIREWALLD}\n}\n`);
  const whole = parseHostChains(
    requireEntries(await namespace.nft(["--json", "--terse", "list", "ruleset"])),
  );
  const cut = await listRuleset(async ({ args }) => {
    const text = await namespace.nft(args);
    if (args.join(" ") === "--json --terse list ruleset") {
      return text.replace(/("name": "t", "handle": \d+).*/, '$1, "flags": ');
    }
    return args[0] === "--terse" ? text.replace("table inet t {", "$&\n\tflags owner") : text;
  });
  assert.deepEqual([...cut.owned], ["inet t"]);
  const [chain] = parseHostChains(cut.entries, cut.owned);
  assert.equal(chain?.owned, true);
  assert.equal(chain.rules.length, whole[0]!.rules.length);
  // The sets that its rules name are written out.
  const traffic = (port: string) => ({ ports: ranges(port), state: "new", sentOn: false } as const);
  assert.equal(findBlock(traffic("443/tcp"), [chain]), undefined);
  assert.equal(findBlock(traffic("22/tcp"), [chain])?.place, "filter_INPUT");
});

Deno.test("parseOwnedTables() takes the flags of tables alone", () => {
  const text = `table inet firewalld { # progname firewalld
\tflags owner,persist

\tset a {
\t\ttype ipv4_addr
\t\tflags interval
\t}
}
table ip asleep {
\tflags dormant
}
table ip both { # progname x
\tflags dormant,owner
}
table inet own {
\tchain owner {
\t}
}
`;
  assert.deepEqual([...parseOwnedTables(text)], ["inet firewalld", "ip both"]);
});
