/** A guard's plan in the state database: what was written is read back, and nothing else is. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { type GuardPlan, printPlan } from "../../lib/firewall/plan.ts";
import { parsePlan } from "../../lib/firewall/stored_plan.ts";
import { guardPlanOf } from "../../lib/config/guard_plan.ts";
import { serverYaml } from "../support/server_yaml.ts";

const PLAN: GuardPlan = {
  knockPort: 54154,
  guardedPorts: [{ protocol: "tcp", first: 22, last: 22 }, {
    protocol: "udp",
    first: 1,
    last: 65535,
  }],
  forwardedPorts: [{ protocol: "tcp", first: 22, last: 22 }],
  dropPorts: true,
  closedAs: "reject",
  openKnockPort: false,
  onlyStampedKnocks: true,
  interface: "eth0.7",
  mark: 0x8000_0000,
  prefixes: [{ family: 4, length: 24 }, { family: 6, length: 64 }],
  lifetimeMs: 30_000,
  activeMs: 30_000,
};

Deno.test("a plan is read back as it was, whatever the configuration says", () => {
  assert.deepEqual(parsePlan(printPlan(PLAN)), PLAN);
  for (const server of [[], ["interface: wg0"], ["drop_ports: false", "mark: 0x1"]]) {
    const plan = guardPlanOf(parseServerConfig(serverYaml({ server }), "server.yaml"));
    assert.deepEqual(parsePlan(printPlan(plan)), plan);
  }
});

Deno.test("a plan that lacks a field, has another, or is cut off anywhere is none", () => {
  const text = printPlan(PLAN);
  for (const key of Object.keys(PLAN)) {
    const { [key as keyof GuardPlan]: _, ...rest } = PLAN;
    const parsed = parsePlan(JSON.stringify(rest));
    if (["interface", "activeMs"].includes(key)) {
      assert.deepEqual(parsed, { ...PLAN, [key]: undefined });
    } else assert.equal(parsed, undefined, key);
  }
  assert.equal(parsePlan(JSON.stringify({ ...PLAN, further: 1 })), undefined);
  for (let end = 0; end < text.length; end++) {
    assert.equal(parsePlan(text.slice(0, end)), undefined, `${end}`);
  }
});

Deno.test("a value that no configuration can give makes the whole unreadable: no text of it becomes a rule", () => {
  const rule = `eth0" accept; add rule inet filter input accept #`;
  const wrong: [keyof GuardPlan, unknown[]][] = [
    ["knockPort", [0, 65536, 1.5, "54154", null, [54154]]],
    ["guardedPorts", [{}, "22/tcp", [22], [{ protocol: rule, first: 22, last: 22 }]]],
    ["guardedPorts", [[{ protocol: "tcp", first: 23, last: 22 }], [{
      protocol: "tcp",
      first: 22,
    }]]],
    ["guardedPorts", [[{ protocol: "tcp", first: 22, last: 22, more: 1 }], [null]]],
    ["forwardedPorts", [[{ protocol: "tcp", first: "22 accept", last: 22 }]]],
    ["dropPorts", [1, "true", null]],
    ["closedAs", ["accept", rule, 0, null, ["drop"]]],
    ["openKnockPort", ["false"]],
    ["onlyStampedKnocks", ["false"]],
    ["interface", [rule, "eth0\n", "", 1, null, ["eth0"], "a".repeat(16)]],
    ["mark", [0, 3, 0x1_0000_0000, -1, "1", 1.5]],
    ["prefixes", [[{ family: 5, length: 24 }], [{ family: 4, length: 32 }], [{ family: 4 }], null]],
    ["lifetimeMs", [0, Infinity, "30s", 86_400_001]],
    ["activeMs", [0, Infinity, "30s; accept", null]],
  ];
  for (const [key, values] of wrong) {
    for (const value of values) {
      const text = JSON.stringify({ ...PLAN, [key]: value });
      assert.equal(parsePlan(text), undefined, text);
    }
  }
  for (const text of ["", "null", "[]", "1", "{}", '"x"', "[1]"]) {
    assert.equal(parsePlan(text), undefined);
  }
});
