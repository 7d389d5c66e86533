/** `extend_while_used`: what entries and groups say, and what that makes of grants. `lib/config/extend.ts`. */

import assert from "node:assert/strict";
import { capsFrom, earlier, narrowExtended, sameCaps } from "../../lib/config/extend.ts";
import { guardPlanOf } from "../../lib/config/guard_plan.ts";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import type { Extended } from "../../lib/values/extended.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { moment, must, START_MS } from "../support/knocks.ts";
import { ALICE_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { ranges } from "../firewall/support.ts";

const GROUPS = [
  "ssh: {ports: [22/tcp], extend_while_used: 8h}",
  "web: [80/tcp, 443/tcp]",
  "all: {ports: [ssh, web, 21-23/tcp], extend_while_used: 10h}",
  "ops: [ssh, 25/tcp]",
  "short: {ports: [80/tcp], extend_while_used: 1h}",
];

function configOf(entry: readonly string[], server: string[] = []): ServerConfig {
  const rest = [
    "ports:",
    ...GROUPS.map((line) => `  ${line}`),
    "clients:",
    "  alice:",
    ...[`ed25519_pubkey: ${ALICE_PUBLIC}`, ...entry].map((line) => `    ${line}`),
  ].join("\n");
  return parseServerConfig(serverYaml({ server, rest }), "server.yaml");
}

const NO_HEALTH = "disable_health_port: true";

/** What the entry says; what stays open while it is used, and for how long at most. */
const ROWS: readonly [entry: string[], extended: Record<string, string>][] = [
  [["allowed_ports: [web]", NO_HEALTH], {}],
  [["allowed_ports: [ssh]"], { "22/tcp": "8h" }],
  // Whoever has a port by its number has not what the group says.
  [["allowed_ports: [22/tcp, 25/tcp]"], {}],
  [["allowed_ports: [ops]"], { "22/tcp": "8h" }],
  // Where several of a client's groups have a port, the shortest time holds.
  [["allowed_ports: [all]"], { "22/tcp": "8h", "21/tcp 23/tcp 80/tcp 443/tcp": "10h" }],
  [["allowed_ports: [all, short]"], {
    "80/tcp": "1h",
    "22/tcp": "8h",
    "21/tcp 23/tcp 443/tcp": "10h",
  }],
  // The entry's own word is for all that it has.
  [["allowed_ports: [all]", NO_HEALTH, "extend_while_used: 2h"], {
    "21-23/tcp 80/tcp 443/tcp": "2h",
  }],
  [["allowed_ports: [ssh]", "extend_while_used: 24h"], { "22/tcp 54154/tcp": "24h" }],
  [["allowed_ports: [all]", "extend_while_used: off"], {}],
];

Deno.test("extend_while_used: a group's is for its ports, an entry's own for all of its own", () => {
  for (const [entry, expected] of ROWS) {
    const { extensions } = must(configOf(entry).clients[0]);
    const found = extensions.map(({ ports, mostMs }) => [
      ports.map(formatPortRange).join(" "),
      `${mostMs / 3_600_000}h`,
    ]);
    assert.deepEqual(Object.fromEntries(found), expected, entry.join(", "));
  }
});

Deno.test("the guard lets traffic count where any client may have that, and for knock_timeout", () => {
  const planOf = (entry: string[]) => guardPlanOf(configOf(entry, ["knock_timeout: 45s"]));
  assert.equal(planOf(["allowed_ports: [web]"]).activeMs, undefined);
  assert.equal(planOf(["allowed_ports: [all]", "extend_while_used: off"]).activeMs, undefined);
  const { activeMs, lifetimeMs } = planOf(["allowed_ports: [ssh]"]);
  assert.deepEqual([activeMs, lifetimeMs], [45_000, 8 * 3_600_000]);
});

Deno.test("extend_while_used is refused where it is wrong, or with a firewall that never can", () => {
  const ssh = "allowed_ports: [ssh]";
  for (const wrong of ["25h", "0s", "8", "true", "on", "[8h]"]) {
    assert.throws(
      () => configOf([ssh, `extend_while_used: ${wrong}`]),
      /clients\.alice\.extend_while_used: expected a duration from 1s to 24h0m0s/,
      wrong,
    );
  }
  for (const firewall of ["iptables", "iptables-nft", "iptables-legacy", "pf", "none"]) {
    const server = [`firewall: ${firewall}`];
    assert.throws(() => configOf([ssh], server), /server\.firewall: expected nft, got/, firewall);
    assert.equal(configOf([ssh, "extend_while_used: off"], server).firewall, firewall);
  }
  for (const firewall of ["nft", "auto"]) configOf([ssh], [`firewall: ${firewall}`]);
});

const EXTENSIONS = [
  { ports: ranges("22/tcp"), mostMs: 60_000 },
  { ports: ranges("80-90/tcp"), mostMs: 40_000 },
];
const EXTENDED: Extended = { caps: must(capsFrom(EXTENSIONS, moment(0))), activeUntilMs: 7 };

/** Ports and the time left, ms, at a moment. */
function shown(extended: Extended | undefined, atMs: number) {
  return extended?.caps.map(({ ports, expiresAtMs, endsSteadyMs }) => {
    const leftMs = endsSteadyMs - moment(atMs).steadyMs;
    assert.equal(expiresAtMs - START_MS - atMs, leftMs);
    return `${ports.map(formatPortRange).join(" ")} ${leftMs}`;
  });
}

Deno.test("a cap counts from the knock, and the end of the key or of the hours is before it", () => {
  assert.equal(capsFrom([], moment(0)), undefined);
  assert.deepEqual(shown(EXTENDED, 0), ["22/tcp 60000", "80-90/tcp 40000"]);
  const caps = must(capsFrom(EXTENSIONS, moment(0), START_MS + 50_000));
  assert.deepEqual(shown({ ...EXTENDED, caps }, 0), ["22/tcp 50000", "80-90/tcp 40000"]);
  const before = must(earlier(caps, 10_000));
  assert.deepEqual(shown({ ...EXTENDED, caps: before }, 0), ["22/tcp 40000", "80-90/tcp 30000"]);
});

Deno.test("another configuration and a restart only take from a cap", () => {
  const at = (ms: number, extensions = EXTENSIONS, expiresAtMs?: number) => {
    const now = moment(ms);
    const leftOf = ({ endsSteadyMs }: { endsSteadyMs: number }) => endsSteadyMs - now.steadyMs;
    const permitted = capsFrom(extensions, now, expiresAtMs);
    return shown(narrowExtended(EXTENDED, permitted, { now, leftOf }), ms);
  };
  assert.deepEqual(at(39_999), ["22/tcp 20001", "80-90/tcp 1"]);
  assert.deepEqual(at(40_000), ["22/tcp 20000"]);
  assert.deepEqual(at(60_000), undefined);
  assert.deepEqual(at(10_000, []), undefined);
  const longer = [{ ports: ranges("22/tcp"), mostMs: 86_400_000 }];
  assert.deepEqual(at(10_000, longer), ["22/tcp 50000"]);
  const other = [{ ports: ranges("85-99/tcp"), mostMs: 5000 }];
  assert.deepEqual(at(10_000, other), ["85-90/tcp 5000"]);
  assert.deepEqual(at(10_000, EXTENSIONS, START_MS + 11_000), ["22/tcp 1000", "80-90/tcp 1000"]);
  assert.ok(sameCaps(EXTENDED, { ...EXTENDED, caps: must(earlier(EXTENDED.caps, 0.5)) }));
  assert.ok(!sameCaps(EXTENDED, { ...EXTENDED, caps: must(earlier(EXTENDED.caps, 1)) }));
  assert.ok(!sameCaps(EXTENDED, undefined));
});
