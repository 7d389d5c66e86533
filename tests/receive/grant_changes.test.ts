/** What a restart and another configuration leave of a grant, and what the history says of it. */

import assert from "node:assert/strict";
import fc from "fast-check";
import type { Moment } from "../../lib/values/moment.ts";
import { type Grant, Grants, type Permission } from "../../lib/grants.ts";
import {
  changesUnder,
  eventsOf,
  narrowGrant,
  resumeGrant,
} from "../../lib/receive/grant_changes.ts";
import {
  formatPortRange,
  includesPortRanges,
  intersectPortRanges,
} from "../../lib/values/ports.ts";
import { moment, permission, SOURCE, START_MS } from "../support/knocks.ts";

/** Opened at 0 for 30 s, to 22/tcp and 8080-8090/tcp. */
const STORED: Grant = new Grants().open(
  SOURCE,
  permission("alice", ["22/tcp", "8080-8090/tcp"]),
  moment(0),
).grant;
const ALLOWED = permission("alice", ["22/tcp", "8080-8090/tcp"]);

interface Row {
  readonly why: string;
  readonly allowed?: Permission | undefined;
  readonly now?: Moment;
  readonly sameBoot?: boolean;
  /** What is left, ms; `undefined` where the grant does not go on. */
  readonly leftMs: number | undefined;
  readonly ports?: readonly string[];
}

/** The wall clock at one time, the steady one at another. */
function clocks(wallMs: number, steadyMs: number): Moment {
  return { wallNs: moment(wallMs).wallNs, steadyMs: moment(steadyMs).steadyMs };
}

const ROWS: readonly Row[] = [
  { why: "10 s later, same boot", now: moment(10_000), leftMs: 20_000 },
  { why: "10 s later, another boot", now: clocks(10_000, -1e6), sameBoot: false, leftMs: 20_000 },
  { why: "just before its end", now: moment(29_999), leftMs: 1 },
  { why: "at its end", now: moment(30_000), leftMs: undefined },
  { why: "after its end", now: moment(99_000), leftMs: undefined },
  { why: "at once", now: moment(0), leftMs: 30_000 },
  { why: "removed client", allowed: undefined, leftMs: undefined },
  { why: "another key", allowed: { ...ALLOWED, key: "another" }, leftMs: undefined },
  { why: "opened in the future", now: clocks(-1, 10), leftMs: undefined },
  {
    why: "opened in the future, another boot",
    now: clocks(-1, 0),
    sameBoot: false,
    leftMs: undefined,
  },
  {
    why: "a shorter lifetime now",
    allowed: { ...ALLOWED, lifetimeMs: 5000 },
    now: moment(10_000),
    leftMs: 5000,
  },
  {
    why: "a longer lifetime now",
    allowed: { ...ALLOWED, lifetimeMs: 500_000 },
    now: moment(10_000),
    leftMs: 20_000,
  },
  {
    why: "the key ends before the grant",
    allowed: { ...ALLOWED, expiresAtMs: START_MS + 12_000 },
    now: moment(10_000),
    leftMs: 2000,
  },
  {
    why: "the key has ended",
    allowed: { ...ALLOWED, expiresAtMs: START_MS + 10_000 },
    now: moment(10_000),
    leftMs: undefined,
  },
  { why: "wall clock set back, same boot", now: clocks(1000, 25_000), leftMs: 5000 },
  {
    why: "wall clock set back, another boot",
    now: clocks(1000, 25_000),
    sameBoot: false,
    leftMs: 29_000,
  },
  { why: "wall clock set ahead, same boot", now: clocks(25_000, 1000), leftMs: 5000 },
  { why: "wall clock stuck, steady end passed", now: clocks(0, 30_000), leftMs: undefined },
  {
    why: "narrowed ports",
    allowed: permission("alice", ["22/tcp", "8085-9000/tcp"]),
    leftMs: 20_000,
    ports: ["22/tcp", "8085-8090/tcp"],
  },
  {
    why: "widened ports",
    allowed: permission("alice", ["1-65535"]),
    leftMs: 20_000,
    ports: ["22/tcp", "8080-8090/tcp"],
  },
  { why: "other ports", allowed: permission("alice", ["22/udp", "80/tcp"]), leftMs: undefined },
  { why: "no ports", allowed: permission("alice", []), leftMs: undefined },
];

for (const row of ROWS) {
  const allowed = "allowed" in row ? row.allowed : ALLOWED;
  const { why, now = moment(10_000), sameBoot = true, leftMs } = row;
  Deno.test(`resumeGrant(): ${why}: ${leftMs === undefined ? "ends" : `${leftMs} ms`}`, () => {
    const resumed = resumeGrant(STORED, allowed, now, { sameBoot });
    const wallMs = Number(now.wallNs / 1_000_000n);
    const expected = leftMs !== undefined && {
      ...STORED,
      ports: row.ports ?? STORED.ports.map(formatPortRange),
      expiresAtMs: wallMs + leftMs,
      endsSteadyMs: now.steadyMs + leftMs,
    };
    assert.deepEqual(
      resumed && { ...resumed, ports: resumed.ports.map(formatPortRange) },
      expected || undefined,
    );
  });
}

const anyPorts = fc.array(fc.constantFrom("22/tcp", "22", "8000-8085/tcp", "1-65535", "53/udp"), {
  maxLength: 3,
});

Deno.test("resumeGrant() never gives more than was stored, nor more than is allowed", () => {
  const anyMs = fc.integer({ min: -40_000, max: 40_000 });
  const setting = fc.record({
    wallMs: anyMs,
    steadyMs: anyMs,
    sameBoot: fc.boolean(),
    ports: anyPorts,
    lifetimeMs: fc.integer({ min: 1000, max: 60_000 }),
    expiresMs: fc.option(anyMs, { nil: undefined }),
  });
  fc.assert(
    fc.property(setting, ({ wallMs, steadyMs, sameBoot, ports, lifetimeMs, expiresMs }) => {
      const expiresAtMs = expiresMs === undefined ? undefined : START_MS + expiresMs;
      const allowed = permission("alice", ports, { lifetimeMs, expiresAtMs });
      const now = clocks(wallMs, steadyMs);
      const resumed = resumeGrant(STORED, allowed, now, { sameBoot });
      if (!resumed) return;
      const leftMs = resumed.endsSteadyMs - now.steadyMs;
      assert.ok(leftMs > 0 && leftMs <= lifetimeMs);
      assert.ok(resumed.expiresAtMs <= STORED.expiresAtMs);
      assert.ok(resumed.expiresAtMs <= (expiresAtMs ?? Infinity));
      assert.ok(!sameBoot || resumed.endsSteadyMs <= STORED.endsSteadyMs);
      assert.ok(wallMs >= 0, "it was not opened in the future");
      assert.ok(includesPortRanges(STORED.ports, resumed.ports));
      assert.ok(includesPortRanges(allowed.ports, resumed.ports));
    }),
    { numRuns: 1000 },
  );
});

Deno.test("narrowGrant() never gives longer than before or than a knock opens now, wherever the wall clock is", () => {
  const setting = fc.record({
    wallMs: fc.integer({ min: -1e9, max: 1e9 }),
    elapsedMs: fc.integer({ min: 0, max: 40_000 }),
    ports: anyPorts,
    lifetimeMs: fc.integer({ min: 1000, max: 60_000 }),
    expiresMs: fc.option(fc.integer({ min: -1e9, max: 1e9 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(setting, ({ wallMs, elapsedMs, ports, lifetimeMs, expiresMs }) => {
      const expiresAtMs = expiresMs === undefined ? undefined : START_MS + expiresMs;
      const allowed = permission("alice", ports, { lifetimeMs, expiresAtMs });
      const now = clocks(wallMs, elapsedMs);
      const before = STORED.endsSteadyMs - now.steadyMs;
      const narrowed = narrowGrant(STORED, allowed, now);
      const keyMs = (expiresMs ?? Infinity) - wallMs;
      const common = intersectPortRanges(STORED.ports, allowed.ports);
      // It ends exactly where nothing is left of it: no step of the wall clock takes it away, but that its key ends.
      assert.equal(narrowed !== undefined, before > 0 && keyMs > 0 && common.length > 0);
      if (!narrowed) return;
      assert.deepEqual(narrowed.ports, common);
      const leftMs = narrowed.endsSteadyMs - now.steadyMs;
      assert.ok(Math.abs(leftMs - Math.min(before, lifetimeMs, keyMs)) < 0.001);
      assert.ok(narrowed.endsSteadyMs <= STORED.endsSteadyMs + 0.001);
      assert.ok(Math.abs(narrowed.expiresAtMs - (START_MS + wallMs + leftMs)) < 0.001);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("narrowGrant() lets a renamed client keep its grant, and no client that of another key", () => {
  const renamed = narrowGrant(STORED, { ...ALLOWED, client: "alicia" }, moment(1000));
  assert.equal(renamed?.client, "alicia");
  assert.equal(narrowGrant(STORED, { ...ALLOWED, key: "another" }, moment(1000)), undefined);
  assert.equal(narrowGrant(STORED, undefined, moment(1000)), undefined);
});

Deno.test("a grant for a network goes on only where the client may have one as wide", () => {
  const open = (v4: number) =>
    new Grants().open(
      SOURCE,
      permission("alice", ["22/tcp"], { prefix: { v4, v6: 128 } }),
      moment(0),
    );
  const rows = [
    { had: 24, has: 24, goesOn: true },
    { had: 24, has: 20, goesOn: true },
    { had: 24, has: 25, goesOn: false },
    { had: 24, has: 32, goesOn: false },
    { had: 32, has: 24, goesOn: true },
  ];
  for (const { had, has, goesOn } of rows) {
    const { grant } = open(had);
    const allowed = permission("alice", ["22/tcp"], { prefix: { v4: has, v6: 128 } });
    const resumed = resumeGrant(grant, allowed, moment(10_000), { sameBoot: true });
    assert.equal(resumed !== undefined, goesOn, `/${had} where /${has} is allowed`);
    if (resumed) assert.deepEqual(resumed.address, grant.address);
    const narrowed = narrowGrant(grant, allowed, moment(10_000));
    assert.equal(narrowed !== undefined, goesOn, `/${had}, reloaded where /${has} is allowed`);
  }
});

Deno.test("the history says what another configuration takes from a grant, and nothing of what goes on", () => {
  const now = moment(10_000);
  const told = (allowed: Permission | undefined) => {
    const permissionOf = (key: string) => key === allowed?.key ? allowed : undefined;
    return changesUnder(permissionOf, [STORED], now).flatMap((change) =>
      eventsOf(change, { atMs: START_MS + 10_000, healthPort: 54_154 })
    ).map(({ client, event, ...more }) => [
      client,
      event,
      "endsAtMs" in more ? more.endsAtMs - START_MS : undefined,
      "why" in more ? more.why : "to" in more ? more.to : undefined,
    ]);
  };
  const { ports } = permission("alice", ["22/tcp"]);
  assert.deepEqual(told(ALLOWED), []);
  assert.deepEqual(told({ ...ALLOWED, lifetimeMs: 500_000 }), []);
  assert.deepEqual(told(undefined), [["alice", "ended", 10_000, "key revoked"]]);
  assert.deepEqual(told({ ...ALLOWED, ports }), [
    ["alice", "ended", 10_000, "configuration changed, 22/tcp left open"],
  ]);
  assert.deepEqual(told({ ...ALLOWED, lifetimeMs: 5000 }), [
    ["alice", "ended", 15_000, "configuration changed"],
  ]);
  assert.deepEqual(told({ ...ALLOWED, client: "alicia", lifetimeMs: 5000 }), [
    ["alice", "renamed", undefined, "alicia"],
    ["alicia", "ended", 15_000, "configuration changed"],
  ]);
});
