/** Every rule of a client's entry at its edge: `lib/config/client_rules.ts`. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { type ClientRules, judgeByRules, type RuledKnock } from "../../lib/config/client_rules.ts";
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
  hasKnocked: () => true,
  isInUse: () => false,
  isRemembered: false,
  ...{ key: "a1", address: address("203.0.113.7"), isHeld: () => false, knockTimeoutMs: 30_000 },
  recordOf: () => ({ used: 0, step: 0, wrong: 0, lockedUntilMs: 0 }),
  ...{ code: 123_456, fleet: {}, codeAt: () => 123_456, floorNs: undefined },
};

const TOTP = "totp: JBSWY3DPEHPK3PXPJBSWY3DPEH";
const FROM = "from: [203.0.113.0/24, 198.51.100.9, 2001:db8::/32]";
const HOURS = "hours: Mon-Fri 08:00-18:00 Europe/Berlin";

const ROWS:
  readonly (Partial<RuledKnock> & { rules: string[]; refused?: string; used?: number })[] = [
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
    { rules: ["uses: 1"], used: 1, isInUse: () => true },
    { rules: ["needs: [bob]"] },
    { rules: ["needs: [bob]"], hasKnocked: () => false, refused: "needs" },
    { rules: ["needs: bob"], hasKnocked: (name) => name === "bob" },
    { rules: ["needs: [bob, carol]"], hasKnocked: (name) => name === "bob", refused: "needs" },
    { rules: [TOTP] },
    { rules: [TOTP], code: 123_457, refused: "code_wrong" },
    // A knock that another rule is against says nothing of its code; one that waits has used it.
    { rules: [TOTP, "uses: 1"], used: 1, code: 123_457, refused: "uses" },
    {
      rules: [TOTP, "needs: [bob]"],
      hasKnocked: () => false,
      code: 123_457,
      refused: "code_wrong",
    },
    { rules: [TOTP], code: 123_457, isRemembered: true },
    // How long it opens is no matter of whether.
    { rules: ["lifetime: 8h"] },
  ];

Deno.test("judgeByRules() holds each rule at its edge", () => {
  for (const { rules, refused, used = 0, ...knock } of ROWS) {
    const recordOf = () => ({ used, step: 0, wrong: 0, lockedUntilMs: 0 });
    const client = { key: "a1", rules: rulesOf(...rules) };
    const { refusal } = judgeByRules(client, { ...KNOCK, recordOf, ...knock });
    assert.equal(refusal, refused, JSON.stringify([rules, knock]));
  }
});

Deno.test("a use and a code are remembered once the knock is good, a code also where it is not", () => {
  const rules = rulesOf(TOTP, "uses: 3", "needs: [bob]");
  const judge = (knock: Partial<RuledKnock>) =>
    judgeByRules({ key: "a1", rules }, { ...KNOCK, ...knock });
  const step = Math.floor(KNOCK.nowMs / 30_000) - 1; // the first that fits
  const remembered = (knock: Partial<RuledKnock>) => {
    const { keyRecord: record, continues } = judge(knock);
    return record ? [record.used, record.step, record.wrong, continues] : continues;
  };
  assert.deepEqual(remembered({}), [1, step, 0, false]);
  assert.deepEqual(remembered({ isInUse: () => true }), [0, step, 0, true]);
  assert.deepEqual(remembered({ hasKnocked: () => false }), [0, step, 0, false]);
  assert.deepEqual(remembered({ isRemembered: true }), [1, 0, 0, false]);
  // The same code again, for what it has opened and for what was closed since.
  const recordOf = () => ({ ...judge({}).keyRecord!, used: 0 });
  const again = (isInUse: () => boolean) =>
    judgeByRules({ key: "a1", rules: rulesOf(TOTP) }, {
      ...{ ...KNOCK, recordOf, isInUse },
      codeAt: (_, each) => each === step ? KNOCK.code : 0,
    });
  assert.equal(again(() => true).continues, true);
  assert.equal(again(() => false).refusal, "code_used");
  assert.deepEqual(remembered({ code: 1 }), [0, 0, 1, false]);
  assert.deepEqual(remembered({ source: address("192.0.2.1"), code: 1 }), [0, 0, 1, false]);
  assert.deepEqual(
    judgeByRules({ key: "a1", rules: rulesOf("lifetime: 8h") }, KNOCK).keyRecord,
    undefined,
  );
});
