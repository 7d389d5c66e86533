/** Every rule of a client's entry at its edge: `lib/config/client_rules.ts`. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { type ClientRules, refusalBy, type RuledKnock } from "../../lib/config/client_rules.ts";
import { ALICE_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { address, must } from "../support/knocks.ts";

/** The rules in these lines of an entry. */
function rulesOf(...lines: string[]): ClientRules {
  const entry = [`ed25519_pubkey: ${ALICE_PUBLIC}`, "allowed_ports: [22/tcp]", ...lines];
  const rest = ["clients:", "  alice:", ...entry.map((line) => `    ${line}`)].join("\n");
  return must(parseServerConfig(serverYaml({ rest }), "server.yaml").clients[0]!.rules);
}

/** A knock that fulfils every rule of the tables below. */
const KNOCK: RuledKnock = {
  source: address("203.0.113.7"),
  nowMs: Date.parse("2026-11-30T12:00:00Z"),
  used: 0,
  inUse: false,
  hasKnocked: () => true,
};

const FROM = "from: [203.0.113.0/24, 198.51.100.9, 2001:db8::/32]";
const HOURS = "hours: Mon-Fri 08:00-18:00 Europe/Berlin";

const ROWS: readonly (Partial<RuledKnock> & { rules: string[]; refused?: string })[] = [
  ...["203.0.113.0", "203.0.113.255", "198.51.100.9", "2001:db8::", "2001:db8:ffff::1"]
    .map((text) => ({ rules: [FROM], source: address(text) })),
  ...[
    "203.0.112.255",
    "203.0.114.0",
    "198.51.100.8",
    "198.51.100.10",
    "2001:db7:ffff::1",
    "2001:db9::",
  ]
    .map((text) => ({ rules: [FROM], source: address(text), refused: "from" })),
  // A source in IPv4 is in no network of IPv6, and the other way round.
  { rules: ["from: ::/0"], refused: "from" },
  { rules: ["from: 0.0.0.0/0"], source: address("2001:db8::1"), refused: "from" },
  { rules: [HOURS], nowMs: Date.parse("2026-11-30T06:59:59.999Z"), refused: "hours" },
  { rules: [HOURS], nowMs: Date.parse("2026-11-30T07:00:00Z") },
  { rules: [HOURS], nowMs: Date.parse("2026-11-30T16:59:59.999Z") },
  { rules: [HOURS], nowMs: Date.parse("2026-11-30T17:00:00Z"), refused: "hours" },
  // The first that is against it.
  {
    rules: [HOURS, FROM],
    source: address("192.0.2.1"),
    nowMs: Date.parse("2026-11-30T17:00:00Z"),
    refused: "from",
  },
  { rules: ["uses: 1"], used: 0 },
  { rules: ["uses: 1"], used: 1, refused: "uses" },
  { rules: ["uses: 3"], used: 2 },
  { rules: ["uses: 3"], used: 3, refused: "uses" },
  { rules: ["uses: 3"], used: 4, refused: "uses" }, // the entry was narrowed since
  // A further knock within the last use.
  { rules: ["uses: 1"], used: 1, inUse: true },
  { rules: ["needs: [bob]"] },
  { rules: ["needs: [bob]"], hasKnocked: () => false, refused: "needs" },
  { rules: ["needs: bob"], hasKnocked: (name) => name === "bob" },
  { rules: ["needs: [bob, carol]"], hasKnocked: (name) => name === "bob", refused: "needs" },
  // How long it opens is no matter of whether.
  { rules: ["lifetime: 8h"] },
];

Deno.test("refusalBy() holds each rule at its edge", () => {
  for (const { rules, refused, ...knock } of ROWS) {
    const found = refusalBy(rulesOf(...rules), { ...KNOCK, ...knock });
    assert.equal(found, refused, JSON.stringify([rules, knock]));
  }
});
