/** The state on disk: what a restart finds, and what it makes up for. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { OpenmeError } from "../../lib/values/errors.ts";
import type { Grant } from "../../lib/grants.ts";
import { formatNetwork } from "../../lib/values/network.ts";
import { KEEP_AFTER_WINDOW_NS, ReplayMemory } from "../../lib/replay.ts";
import { SCHEMA_VERSION } from "../../lib/state/schema.ts";
import { readHistory, readSnapshot } from "../../lib/state/read.ts";
import { noteUnwritten } from "../../lib/state/unwritten.ts";
import { Folder } from "../support/folder.ts";
import { waitFor } from "../support/wait.ts";
import { grantOf, NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { StillClock } from "../support/still_clock.ts";
import {
  contentOf,
  copyOfState,
  knockRecord,
  knockTimeNs,
  nonce,
  open,
  raiseWatermark,
  take,
} from "./support.ts";

const SECOND_NS = 1_000_000_000n;
const [ALICE, BOB] = ["a1".repeat(32), "b0".repeat(32)];

/** Grants in the order of their clients. */
function byClient(grants: readonly Grant[]): Grant[] {
  return grants.toSorted((a, b) => a.client.localeCompare(b.client));
}

/** Reads the database of a store that is open, or of one that was. */
function query(folder: Folder, sql: string): Record<string, unknown>[] {
  const database = new DatabaseSync(folder.file("state.db"), { readOnly: true });
  try {
    return database.prepare(sql).all().map((row) => ({ ...row }));
  } finally {
    database.close();
  }
}

Deno.test("a first start finds nothing, warns of nothing and refuses only what is dated before it", async () => {
  await using folder = await Folder.create();
  using opened = open(folder.path);
  assert.deepEqual(opened.stored, { grants: [], sameBoot: false, guard: "" });
  assert.deepEqual(contentOf(opened.replay), {
    entries: [],
    watermarks: [],
    floorNs: undefined,
    beganNs: NOW_NS,
  });
  assert.deepEqual(opened.events, []);
  assert.equal(
    opened.replay.has(ALICE, nonce(1), NOW_NS - WINDOW_NS),
    false,
    "a clock that is behind",
  );
  assert.equal(take(opened, knockRecord(1, { timestampNs: NOW_NS })), "replay");
  assert.equal(take(opened, knockRecord(1, { timestampNs: NOW_NS + 1n })), "fresh");
  assert.ok(opened.store.isSound());
});

for (const how of ["a clean stop", "a kill"] as const) {
  Deno.test(`nonces, watermarks and grants survive ${how}`, async () => {
    await using folder = await Folder.create();
    const grants = [
      grantOf("alice"),
      grantOf("bob", "2001:db8::7", {
        key: BOB,
        ports: [{ protocol: "udp", first: 1, last: 65535 }],
      }),
      grantOf("carol", "10.0.0.0/24", { ports: [] }),
    ];
    // A small memory, so that there are watermarks.
    const replay = new ReplayMemory({ quota: 3 });
    let dir = folder.path;
    let before;
    {
      using first = open(folder.path, { replay });
      for (const [n, grant] of grants.entries()) {
        const opened = { grant, renewed: false };
        assert.equal(take(first, knockRecord(n, { opened, key: grant.key })), "fresh");
      }
      // Old knocks of alice make room for newer ones, and leave a watermark.
      first.clock.wallNs += 2n * WINDOW_NS;
      for (const n of [3, 4, 5]) {
        const timestampNs = first.clock.wallNs + BigInt(n);
        assert.equal(take(first, knockRecord(n, { timestampNs })), "fresh");
      }
      before = contentOf(first.replay);
      assert.equal(before.entries.length, 4);
      assert.equal(before.watermarks.length, 1);
      if (how === "a kill") dir = await copyOfState(folder.path, folder.file("killed"));
    }
    using second = open(dir, { clock: new StillClock(NOW_NS + 3n * WINDOW_NS) });
    assert.deepEqual(contentOf(second.replay), before);
    assert.deepEqual(byClient(second.stored.grants), grants);
    assert.ok(second.stored.sameBoot);
    assert.deepEqual(second.events, []);
  });
}

Deno.test("timestamps at both ends of int64 survive", async () => {
  await using folder = await Folder.create();
  const ends = [-(2n ** 63n), -(2n ** 63n) + 1n, -1n, 0n, 2n ** 53n + 1n, 2n ** 63n - 1n];
  {
    using first = open(folder.path);
    for (const [key, timestampNs] of [[BOB, ends[0]!], ["c0", ends.at(-1)!]] as const) {
      raiseWatermark(first, key, timestampNs);
    }
    for (const [n, timestampNs] of ends.entries()) {
      first.replay.restore(ALICE, nonce(n), timestampNs);
      first.store.recordKnock(knockRecord(n, { timestampNs }));
    }
  }
  using second = open(folder.path);
  assert.deepEqual([...second.replay.entries()].map(([, , timestampNs]) => timestampNs), ends);
  assert.deepEqual(
    new Map(second.replay.watermarks()),
    new Map([[BOB, ends[0]!], ["c0", ends.at(-1)!]]),
  );
});

Deno.test("a renewed grant takes the place of the old one, a forgotten one is gone", async () => {
  await using folder = await Folder.create();
  const renewed = grantOf("alice", undefined, {
    endsSteadyMs: 2_000_000,
    expiresAtMs: 1_790_000_060_000,
  });
  const narrowed = grantOf("bob", undefined, { ports: [{ protocol: "tcp", first: 22, last: 22 }] });
  {
    using first = open(folder.path);
    const record = (n: number, grant: Grant, isRenewed = false) =>
      first.store.recordKnock(knockRecord(n, { opened: { grant, renewed: isRenewed } }));
    record(1, grantOf("alice"));
    record(2, grantOf("alice", "10.0.0.1"));
    record(3, grantOf("bob"));
    record(4, renewed, true);
    first.store.recordGrant(narrowed);
    first.store.forgetGrants([grantOf("alice", "10.0.0.1"), grantOf("nobody")]);
  }
  {
    using second = open(folder.path);
    assert.deepEqual(byClient(second.stored.grants), [renewed, narrowed]);
    second.store.forgetGrants(second.stored.grants);
  }
  using third = open(folder.path);
  assert.deepEqual(third.stored.grants, []);
});

Deno.test("after any history a restart remembers exactly what the process did", async () => {
  const step = fc.record({
    client: fc.constantFrom(ALICE, BOB),
    nonce: fc.nat(30),
    ageS: fc.integer({ min: -59, max: 59 }),
    // Now and then the clock jumps, back too, and the state is tended.
    forwardS: fc.oneof({ weight: 6, arbitrary: fc.nat(5) }, {
      weight: 1,
      arbitrary: fc.constantFrom(-3600, 3600, 100_000),
    }),
    tends: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      await using folder = await Folder.create();
      const clock = new StillClock();
      let live;
      {
        using opened = open(folder.path, { clock, replay: new ReplayMemory({ quota: 4 }) });
        clock.wallNs += 2n * WINDOW_NS; // past the floor of a first start
        for (const { client, nonce: n, ageS, forwardS, tends } of steps) {
          clock.wallNs += BigInt(forwardS) * SECOND_NS;
          const timestampNs = clock.wallNs - BigInt(ageS) * SECOND_NS;
          take(opened, knockRecord(n, { key: client, randomNonce: nonce(n), timestampNs }));
          if (tends) opened.store.tend({ grants: [], replayWindowNs: WINDOW_NS });
        }
        live = contentOf(opened.replay);
        assert.deepEqual(opened.events, []);
      }
      using again = open(folder.path, { clock });
      assert.deepEqual(contentOf(again.replay), live);
    }),
    { numRuns: 30 },
  );
});

Deno.test("what is too old is forgotten on disk as well, and leaves a watermark", async () => {
  await using folder = await Folder.create();
  {
    using first = open(folder.path);
    for (const n of [1, 2, 3]) take(first, knockRecord(n));
    first.clock.wallNs = NOW_NS + WINDOW_NS + KEEP_AFTER_WINDOW_NS + 4n;
    first.store.tend({ grants: [], replayWindowNs: WINDOW_NS });
    assert.deepEqual(query(folder, "SELECT count(*) AS n FROM nonces"), [{ n: 1 }]);
  }
  using second = open(folder.path);
  assert.deepEqual([...second.replay.entries()].map(([, , ns]) => ns), [knockTimeNs(3)]);
  assert.equal(second.replay.watermarkOf(ALICE), knockTimeNs(2));
});

/** How the process before ended, and what the next one has to refuse. */
const RESTARTS = [
  { clean: true, boots: ["boot-1", "boot-1"], floor: undefined },
  { clean: false, boots: ["boot-1", "boot-1"], floor: undefined },
  { clean: true, boots: ["boot-1", "boot-2"], floor: undefined },
  { clean: false, boots: ["boot-1", "boot-2"], floor: "start" },
  { clean: true, boots: [undefined, undefined], floor: undefined },
  { clean: false, boots: [undefined, undefined], floor: "start" },
  { clean: false, boots: ["boot-1", undefined], floor: "start" },
] as const;

for (const { clean, boots: [before, after], floor } of RESTARTS) {
  const title = `${clean ? "a clean stop" : "a kill"} in ${before ?? "an unknown boot"}, then ${
    after ?? "an unknown boot"
  }: ${floor ? "knocks up to the start are refused" : "nothing more is refused"}`;
  Deno.test(title, async () => {
    await using folder = await Folder.create();
    let dir = folder.path;
    {
      using first = open(folder.path, { clock: new StillClock(NOW_NS, { id: before }) });
      take(first, knockRecord(1, { opened: { grant: grantOf("alice"), renewed: false } }));
      if (!clean) dir = await copyOfState(folder.path, folder.file("killed"));
    }
    const startNs = NOW_NS + 10n * SECOND_NS;
    const expected = floor ? startNs : undefined;
    const events = floor ? ["warn unclean_stop"] : [];
    let killedAgain: string;
    {
      using second = open(dir, { clock: new StillClock(startNs, { id: after }) });
      assert.equal(second.replay.floorNs, expected);
      assert.deepEqual(second.told(), events);
      assert.equal(second.stored.sameBoot, before !== undefined && before === after);
      assert.equal(second.stored.grants.length, 1);
      assert.equal(
        take(second, knockRecord(2, { key: BOB, timestampNs: startNs })),
        floor ? "replay" : "fresh",
      );
      assert.equal(take(second, knockRecord(3, { key: BOB, timestampNs: startNs + 1n })), "fresh");
      killedAgain = await copyOfState(dir, folder.file("killed again"));
    }
    // Further restarts, clean or not, keep it as it is.
    for (const again of [dir, killedAgain]) {
      using third = open(again, {
        clock: new StillClock(startNs + 60n * SECOND_NS, { id: after }),
      });
      const unclean = again === killedAgain && after === undefined;
      assert.equal(third.replay.floorNs, unclean ? startNs + 60n * SECOND_NS : expected);
    }
  });
}

Deno.test("a database that the disk refused counts as lost", async () => {
  await using folder = await Folder.create();
  {
    using first = open(folder.path);
    take(first, knockRecord(1));
  }
  noteUnwritten(folder.path);
  const startNs = NOW_NS + SECOND_NS;
  {
    using second = open(folder.path, { clock: new StillClock(startNs) });
    assert.deepEqual(second.told(), ["warn state_incomplete"]);
    assert.equal(second.replay.floorNs, startNs + WINDOW_NS);
    assert.equal([...second.replay.entries()].length, 1, "what is there still counts");
  }
  // Now it is whole again, and the floor is part of it.
  using third = open(folder.path, { clock: new StillClock(startNs + SECOND_NS) });
  assert.deepEqual(third.told(), []);
  assert.equal(third.replay.floorNs, startNs + WINDOW_NS);
});

Deno.test("a database that was deleted is a new one: knocks up to the start are refused", async () => {
  await using folder = await Folder.create();
  {
    using first = open(folder.path);
    take(first, knockRecord(1));
  }
  await Deno.remove(folder.file("state.db"));
  const startNs = NOW_NS + SECOND_NS;
  using second = open(folder.path, { clock: new StillClock(startNs) });
  assert.deepEqual(second.events, []);
  assert.equal(take(second, knockRecord(2, { timestampNs: startNs })), "replay");
  assert.equal(take(second, knockRecord(3, { timestampNs: startNs + 1n })), "fresh");
  second.store.close();
  using third = open(folder.path, { clock: new StillClock(startNs + SECOND_NS) });
  assert.equal(take(third, knockRecord(4, { timestampNs: startNs })), "replay");
});

Deno.test("the database of a newer openme is left alone", async () => {
  await using folder = await Folder.create();
  open(folder.path)[Symbol.dispose]();
  const database = new DatabaseSync(folder.file("state.db"));
  database.exec(
    `PRAGMA user_version = ${SCHEMA_VERSION + 1}; PRAGMA wal_checkpoint(TRUNCATE)`,
  );
  database.close();
  const bytes = await Deno.readFile(folder.file("state.db"));
  assert.throws(() => open(folder.path), (error) => {
    assert.ok(error instanceof OpenmeError);
    assert.equal(error.code, "STATE");
    assert.equal(error.message, `cannot use "${folder.file("state.db")}": a newer openme made it`);
    assert.equal(error.hint, "run that version, or move the file away");
    return true;
  });
  assert.deepEqual(await Deno.readFile(folder.file("state.db")), bytes);
  assert.ok(!(await folder.names()).some((name) => name.includes("unreadable")));
});

Deno.test("the history tells what happened, and who was seen last", async () => {
  await using folder = await Folder.create();
  using opened = open(folder.path);
  const grant = grantOf("alice", "2001:db8::7");
  const atMs = 1_790_000_000_123.75;
  opened.store.recordKnock(knockRecord(1, { atMs, opened: { grant, renewed: false } }));
  opened.store.recordKnock(
    knockRecord(2, { atMs: atMs + 10, source: "192.0.2.1", opened: { grant, renewed: true } }),
  );
  // Refused for want of room: seen, but nothing was opened.
  opened.store.recordKnock(knockRecord(3, { client: "bob", atMs: atMs + 20 }));
  opened.store.close();
  const row = {
    client: "alice",
    address: "2001:db8::7",
    ports: "22/tcp 8080-8090/tcp 53/udp",
    "expires_at_ms": grant.expiresAtMs,
  };
  const history = query(
    folder,
    "SELECT at_ms, event, client, source, address, ports, expires_at_ms FROM history ORDER BY id",
  );
  assert.deepEqual(history, [
    { at_ms: 1_790_000_000_123, event: "granted", source: "198.51.100.20", ...row },
    { at_ms: 1_790_000_000_133, event: "renewed", source: "192.0.2.1", ...row },
  ]);
  const seen = query(folder, "SELECT client, at_ms FROM last_seen ORDER BY client");
  assert.deepEqual(seen, [
    { client: "alice", at_ms: 1_790_000_000_133 },
    { client: "bob", at_ms: 1_790_000_000_143 },
  ]);
});

Deno.test("what became of grants is told with them", async () => {
  await using folder = await Folder.create();
  using opened = open(folder.path);
  const { store } = opened;
  const nowMs = 1_790_000_000_000;
  const grants = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"].map((at) =>
    grantOf("alice", at, { openedAtMs: nowMs, expiresAtMs: nowMs + 30_000 })
  );
  for (const [i, grant] of grants.entries()) {
    const atMs = nowMs + i + 0.5;
    store.recordKnock(knockRecord(i, { atMs, opened: { grant, renewed: false } }));
  }
  const of = (i: number) => ({ client: "alice", address: formatNetwork(grants[i]!.address) });
  const answered = (i: number, event: "failed" | "carried_out") =>
    store.recordEvent({ ...of(i), event, knockedAtMs: nowMs + i + 0.5 });
  answered(1, "failed");
  answered(2, "failed");
  answered(2, "carried_out");
  const why = "closed by command";
  store.recordEvent({ ...of(3), event: "ended", endsAtMs: nowMs + 300, why });
  store.recordEvent({ ...of(4), event: "renamed", to: "eve" });
  store.recordEvent({ ...of(4), client: "eve", event: "ended", endsAtMs: nowMs + 400, why });
  // Renewed once more: what came before is of the row before.
  const renewed = { grant: grants[3]!, renewed: true };
  store.recordKnock(knockRecord(9, { atMs: nowMs + 500, opened: renewed }));
  // Of a knock that the history does not have.
  store.recordEvent({ ...of(0), event: "failed", knockedAtMs: nowMs - 1 });
  opened.store.close();
  const query = { client: undefined, sinceMs: undefined, limit: 100 };
  const entries = readHistory(folder.path, query);
  assert.deepEqual(entries.map(({ failed, ended }) => failed ? "failed" : ended ?? "as told"), [
    "as told",
    "failed",
    "as told",
    { atMs: nowMs + 300, why },
    { atMs: nowMs + 400, why },
    "as told",
  ]);
  assert.deepEqual(readHistory(folder.path, { ...query, limit: 1 }).map(({ ended }) => ended), [
    undefined,
  ]);
});

Deno.test("a grant that the firewall has refused is known as such, until it has taken it", async () => {
  await using folder = await Folder.create();
  const openedAtMs = 1_790_000_000_000;
  const [first, second] = ["192.0.2.1", "192.0.2.2"].map((at) =>
    grantOf("alice", at, { openedAtMs, expiresAtMs: openedAtMs + 60_000 })
  );
  const refused = () =>
    [...readSnapshot(folder.path, openedAtMs + 1).refused].map(({ address }) =>
      formatNetwork(address)
    );
  {
    using opened = open(folder.path);
    const knock = (n: number, grant: Grant, atMs: number) => {
      opened.store.recordKnock(knockRecord(n, { atMs, opened: { grant, renewed: false } }));
      const address = formatNetwork(grant.address);
      opened.store.recordEvent({ client: "alice", address, event: "failed", knockedAtMs: atMs });
    };
    knock(1, first!, openedAtMs);
    // Refused was an earlier grant for the same address.
    knock(2, second!, openedAtMs - 5);
    opened.store.tend({ grants: [], replayWindowNs: WINDOW_NS });
    await waitFor("the history", () => refused().length > 0, { everyMs: 10 });
    assert.deepEqual(refused(), ["192.0.2.1"]);
  }
  using opened = open(folder.path);
  assert.deepEqual(refused(), ["192.0.2.1"]);
  opened.store.settleFailures();
  assert.deepEqual(refused(), []);
});

Deno.test("the history is bounded: the oldest rows go", async () => {
  await using folder = await Folder.create();
  const KEPT = 100_000;
  open(folder.path)[Symbol.dispose]();
  const database = new DatabaseSync(folder.file("state.db"));
  database.exec(`
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${KEPT + 25})
    INSERT INTO history (id, at_ms, event, client, source, address, ports)
      SELECT i, i, 'granted', 'a', '', '', '' FROM n`);
  database.close();
  using opened = open(folder.path);
  opened.store.tend({ grants: [], replayWindowNs: WINDOW_NS });
  const [row] = query(
    folder,
    "SELECT count(*) AS n, min(id) AS first, max(id) AS last FROM history",
  );
  assert.deepEqual(row, { n: KEPT, first: 26, last: KEPT + 25 });
});

Deno.test("a client that knocks all the time does not wash out the history of others", async () => {
  await using folder = await Folder.create();
  using opened = open(folder.path);
  const knock = (n: number, client: string) =>
    opened.store.recordKnock(
      knockRecord(n, { client, opened: { grant: grantOf(client), renewed: false } }),
    );
  for (let n = 0; n < 2000; n++) knock(n, "noisy");
  knock(2000, "alice");
  opened.clock.steadyMs += 10_000;
  for (let n = 2001; n < 2100; n++) knock(n, "noisy");
  opened.store.flushHistory();
  assert.deepEqual(
    query(folder, "SELECT client, count(*) AS n FROM history GROUP BY client"),
    [{ client: "alice", n: 1 }, { client: "noisy", n: 310 }],
  );
});
