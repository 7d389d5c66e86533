/** The gate: the order of its checks, what each leaves behind, and that nothing but a good knock passes. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { formatAddress, isHoldable } from "../lib/values/address.ts";
import { type Bytes, concatBytes, sign } from "../lib/crypto/keys.ts";
import { type GateRules } from "../lib/gate.ts";
import { ReplayMemory } from "../lib/replay.ts";
import {
  address,
  ALICE,
  anyAddress,
  BOB,
  filled,
  flipBit,
  freshRules,
  knockBy,
  MALLORY,
  memoryOf,
  NOW_NS,
  outcome,
  outcomeOf,
  sender,
  SOURCE,
  WINDOW_NS,
} from "./support/knocks.ts";
import { judge } from "./support/judge.ts";

const OLD = sender("old", 0x01, NOW_NS);

Deno.test("judge() grants a good knock: who, to which address, and what to remember", async () => {
  const rules = freshRules();
  const target = address("203.0.113.9");
  assert.deepEqual(judge(await knockBy(BOB, { target }), SOURCE, NOW_NS, rules), {
    kind: "grant",
    client: BOB,
    address: target,
    randomNonce: filled(0x70, 16),
    timestampNs: NOW_NS,
  });
  assert.deepEqual(memoryOf(rules).entries, [[BOB.key, "70".repeat(16), NOW_NS]]);
});

Deno.test("judge() takes the first check that fails, when all later ones fail too", async () => {
  const seen = filled(0x99, 16);
  const stale = NOW_NS - WINDOW_NS - 1n;
  const loopback = address("127.0.0.1");
  const lastFlaws = { randomNonce: seen };
  const targetFlaws = { ...lastFlaws, target: loopback };
  const staleFlaws = { ...targetFlaws, timestampNs: stale };
  const unsigned = await knockBy(MALLORY, staleFlaws);
  const undecryptable = flipBit(unsigned, 8 * 100);
  const noAgreement = concatBytes(Uint8Array.of(1), filled(0), undecryptable.subarray(33));
  const wrongVersion = flipBit(noAgreement, 1);
  const rows: { datagram: Bytes; expected: string }[] = [
    { datagram: wrongVersion.slice(0, 164), expected: "size" },
    { datagram: wrongVersion, expected: "version" },
    { datagram: noAgreement, expected: "key_agreement" },
    { datagram: undecryptable, expected: "decrypt" },
    { datagram: unsigned, expected: "signature" },
    { datagram: await knockBy(OLD, staleFlaws), expected: "expired" },
    { datagram: await knockBy(ALICE, staleFlaws), expected: "stale" },
    { datagram: await knockBy(ALICE, targetFlaws), expected: "target" },
    { datagram: await knockBy(ALICE, lastFlaws), expected: "replay" },
    { datagram: await knockBy(ALICE), expected: "limit" },
  ];
  const rules = freshRules({ clients: [ALICE, BOB, OLD], hasRoom: () => false });
  for (const { key } of [ALICE, OLD]) rules.replay.restore(key, seen, NOW_NS);
  for (const { datagram, expected } of rows) assert.equal(outcome(datagram, rules), expected);
});

Deno.test("judge() names the client in a drop from the signature on", async () => {
  const rules = freshRules({ clients: [ALICE, BOB, OLD], hasRoom: () => false });
  const rows = [
    { by: MALLORY, knock: {}, reason: "signature", client: undefined },
    { by: OLD, knock: {}, reason: "expired", client: OLD },
    { by: BOB, knock: { timestampNs: 0n }, reason: "stale", client: BOB },
    { by: BOB, knock: { target: address("ff02::1") }, reason: "target", client: BOB },
    { by: BOB, knock: {}, reason: "limit", client: BOB },
    { by: BOB, knock: {}, reason: "replay", client: BOB },
  ];
  for (const { by, knock, reason, client } of rows) {
    const verdict = judge(await knockBy(by, knock), SOURCE, NOW_NS, rules);
    assert.ok(verdict.kind === "drop");
    assert.equal(verdict.reason, reason);
    assert.equal(verdict.client, client, reason);
    // Only a knock that was remembered has to be written down.
    assert.equal(verdict.remembered !== undefined, reason === "limit", reason);
  }
});

Deno.test("judge() accepts a knock up to exactly the window in either direction", async () => {
  const anyWindow = fc.bigInt({ min: 1_000_000_000n, max: 3_600_000_000_000n });
  const anyNow = fc.bigInt({ min: 0n, max: 4_000_000_000_000_000_000n });
  await fc.assert(
    fc.asyncProperty(anyWindow, anyNow, async (replayWindowNs, nowNs) => {
      const rows = [
        { timestampNs: nowNs - replayWindowNs, expected: "grant" },
        { timestampNs: nowNs - replayWindowNs - 1n, expected: "stale" },
        { timestampNs: nowNs + replayWindowNs, expected: "grant" },
        { timestampNs: nowNs + replayWindowNs + 1n, expected: "stale" },
      ];
      for (const { timestampNs, expected } of rows) {
        const datagram = await knockBy(ALICE, { timestampNs });
        assert.equal(outcome(datagram, freshRules({ replayWindowNs }), { nowNs }), expected);
      }
    }),
    { numRuns: 25 },
  );
});

Deno.test("judge() does not overflow at the ends of int64", async () => {
  const [min, max] = [-(2n ** 63n), 2n ** 63n - 1n];
  const rows = [
    { timestampNs: min, nowNs: max, expected: "stale" },
    { timestampNs: max, nowNs: min, expected: "stale" },
    { timestampNs: min, nowNs: NOW_NS, expected: "stale" },
    { timestampNs: max, nowNs: NOW_NS, expected: "stale" },
    { timestampNs: max, nowNs: max, expected: "grant" },
    { timestampNs: max, nowNs: max + WINDOW_NS, expected: "grant" },
    { timestampNs: max, nowNs: max + WINDOW_NS + 1n, expected: "stale" },
    { timestampNs: min, nowNs: min, expected: "grant" },
  ];
  for (const { timestampNs, nowNs, expected } of rows) {
    const datagram = await knockBy(ALICE, { timestampNs });
    assert.equal(outcome(datagram, freshRules(), { nowNs }), expected, `${timestampNs} ${nowNs}`);
  }
});

Deno.test("judge() refuses a key from the very moment it expires", async () => {
  const rules = (expiresNs: bigint | undefined) =>
    freshRules({ clients: [{ ...ALICE, expiresNs }] });
  const good = await knockBy(ALICE);
  assert.equal(outcome(good, rules(NOW_NS + 1n)), "grant");
  assert.equal(outcome(good, rules(NOW_NS)), "expired");
  assert.equal(outcome(good, rules(NOW_NS - 1n)), "expired");
  assert.equal(outcome(good, rules(undefined)), "grant");
});

Deno.test("judge() does not remember what it drops before the nonce is looked up", async () => {
  const rows = [
    { reason: "stale", at: { nowNs: NOW_NS - WINDOW_NS - 1n } },
    { reason: "target", at: { source: address("127.0.0.1") } },
  ];
  const datagram = await knockBy(ALICE);
  for (const { reason, at } of rows) {
    const rules = freshRules();
    assert.equal(outcome(datagram, rules, at), reason);
    assert.deepEqual(memoryOf(rules), memoryOf(freshRules()), reason);
    assert.equal(outcome(datagram, rules), "grant", reason);
  }
  const expired = freshRules({ clients: [OLD] });
  assert.equal(outcome(await knockBy(OLD), expired), "expired");
  assert.deepEqual(memoryOf(expired), memoryOf(freshRules()));
});

Deno.test("judge() remembers the knock that finds no room, so that it cannot be sent again", async () => {
  const asked: [client: string, address: string][] = [];
  const hasRoom: GateRules["hasRoom"] = ({ name }, where) => {
    asked.push([name, formatAddress(where)]);
    return false;
  };
  const replay = new ReplayMemory();
  const datagram = await knockBy(ALICE);
  assert.deepEqual(judge(datagram, SOURCE, NOW_NS, freshRules({ replay, hasRoom })), {
    kind: "drop",
    reason: "limit",
    client: ALICE,
    remembered: { randomNonce: filled(0x70, 16), timestampNs: NOW_NS },
  });
  assert.deepEqual(asked, [["alice", "198.51.100.20"]]);
  assert.equal(outcome(datagram, freshRules({ replay })), "replay");
});

Deno.test("judge() asks for room only for a knock that is fresh", async () => {
  const rules = freshRules({ hasRoom: () => assert.fail("asked for room") });
  rules.replay.restore(ALICE.key, filled(0x70, 16), NOW_NS);
  assert.equal(outcome(await knockBy(ALICE), rules), "replay");
  assert.equal(outcome(await knockBy(ALICE, { target: address("::1") }), rules), "target");
});

Deno.test("judge() refuses a client that has filled its quota, and remembers nothing of it", async () => {
  const rules = freshRules({ replay: new ReplayMemory({ quota: 1 }) });
  assert.equal(outcome(await knockBy(ALICE), rules), "grant");
  const second = await knockBy(ALICE, { timestampNs: NOW_NS + 1n, randomNonce: filled(2, 16) });
  assert.deepEqual(judge(second, SOURCE, NOW_NS, rules), {
    kind: "drop",
    reason: "limit",
    client: ALICE,
  });
  assert.equal(outcome(second, rules), "replay");
  assert.equal(outcome(await knockBy(BOB), rules), "grant", "the quota is each client's own");
});

Deno.test("judge() lets two clients use the same nonce", async () => {
  const rules = freshRules();
  for (const client of [ALICE, BOB]) assert.equal(outcome(await knockBy(client), rules), "grant");
  for (const client of [ALICE, BOB]) assert.equal(outcome(await knockBy(client), rules), "replay");
});

Deno.test("judge() does not let one client burn another's nonce by signing its bytes again", async () => {
  const rules = freshRules();
  const alices = await knockBy(ALICE);
  const body = alices.slice(0, 101);
  const bobs = concatBytes(body, await sign(BOB.seed, body));
  assert.equal(outcome(bobs, rules), "grant");
  assert.equal(outcome(alices, rules), "grant");
  assert.equal(outcome(alices, rules), "replay");
});

Deno.test("judge() holds a wildcard's source to what a target is held to", async () => {
  const rows = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "::ffff:127.0.0.1",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "ff02::1",
  ];
  const datagram = await knockBy(ALICE);
  for (const text of rows) {
    assert.equal(outcome(datagram, freshRules(), { source: address(text) }), "target", text);
  }
});

Deno.test("judge() grants the target, or the source of a wildcard, where it can be held", async () => {
  await fc.assert(
    fc.asyncProperty(anyAddress, fc.boolean(), async (where, isWildcard) => {
      // An explicit unspecified address is the wildcard on the wire.
      fc.pre(isWildcard || !/^(0\.0\.0\.0|::)$/.test(formatAddress(where)));
      const datagram = await knockBy(ALICE, isWildcard ? {} : { target: where });
      const verdict = judge(datagram, isWildcard ? where : SOURCE, NOW_NS, freshRules());
      assert.equal(outcomeOf(verdict), isHoldable(where) ? "grant" : "target");
      if (verdict.kind === "grant") assert.deepEqual(verdict.address, where);
    }),
    { numRuns: 60 },
  );
});

Deno.test("judge() finds the client at every place among many", async () => {
  const many = Array.from({ length: 20 }, (_, i) => sender(`c${i}`, i + 2));
  for (const client of many) {
    const verdict = judge(await knockBy(client), SOURCE, NOW_NS, freshRules({ clients: many }));
    assert.equal(verdict.kind === "grant" && verdict.client.name, client.name);
  }
  assert.equal(outcome(await knockBy(ALICE), freshRules({ clients: many })), "signature");
  assert.equal(outcome(await knockBy(ALICE), freshRules({ clients: [] })), "signature");
});

Deno.test("judge() remembers a client by its key, not by its name", async () => {
  const replay = new ReplayMemory();
  const datagram = await knockBy(ALICE);
  assert.equal(outcome(datagram, freshRules({ replay, clients: [ALICE] })), "grant");
  const renamed = { ...ALICE, name: "alice-laptop" };
  assert.equal(outcome(datagram, freshRules({ replay, clients: [renamed] })), "replay");
});
