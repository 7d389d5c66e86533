/** The order in which clients' keys are tried: the right one first, however many there are. */

import assert from "node:assert/strict";
import { type GateClient, identifying, unseal } from "../../lib/gate.ts";
import { hintedNonce } from "../../lib/packet.ts";
import { RankedCandidates } from "../../lib/receive/candidates.ts";
import {
  address,
  ALICE,
  ALICE_PROFILE,
  BOB,
  filled,
  freshKnock,
  freshRules,
  indexOf,
  knockBy,
  MALLORY,
  outcome,
  SOURCE,
} from "../support/knocks.ts";

const NO_HINT = filled(0, 16);
const ELSEWHERE = address("192.0.2.200");

/** Registered clients whose keys are never right; they count how often they are tried. */
function crowd(size: number): { clients: GateClient[]; tried: () => number } {
  let tried = 0;
  const verify = () => {
    tried++;
    return false;
  };
  const clients = Array.from({ length: size }, (_, i) => ({
    name: `client${i}`,
    key: i.toString(16).padStart(64, "0"),
    verify,
    expiresNs: undefined,
  }));
  return { clients, tried: () => tried };
}

const namesOf = (candidates: RankedCandidates, nonce: Uint8Array, source = SOURCE) =>
  [...candidates.inOrder(nonce, source)].map(({ name }) => name);

Deno.test("inOrder() gives every client once, also the remembered ones", async () => {
  const { clients } = crowd(50);
  const candidates = new RankedCandidates(indexOf([...clients, ALICE, BOB]));
  for (const client of [ALICE, clients[7]!, BOB, ALICE]) candidates.accepted(client.key, SOURCE);
  const nonce = await hintedNonce(filled(0, 12), BOB.publicKey);
  const names = namesOf(candidates, nonce);
  assert.equal(names.length, 52);
  assert.equal(new Set(names).size, 52);
});

Deno.test("inOrder() begins with the hinted, then those from this source, then the last accepted", async () => {
  const { clients } = crowd(50);
  const candidates = new RankedCandidates(indexOf([...clients, ALICE, BOB]));
  candidates.accepted(clients[5]!.key, SOURCE);
  candidates.accepted(clients[6]!.key, SOURCE);
  candidates.accepted(clients[9]!.key, ELSEWHERE);
  const hinted = namesOf(candidates, await hintedNonce(filled(0, 12), BOB.publicKey));
  assert.deepEqual(hinted.slice(0, 5), ["bob", "client6", "client5", "client9", "client0"]);
  assert.deepEqual(namesOf(candidates, NO_HINT).slice(0, 4), [
    "client6",
    "client5",
    "client9",
    "client0",
  ]);
  assert.deepEqual(namesOf(candidates, NO_HINT, ELSEWHERE).slice(0, 3), [
    "client9",
    "client6",
    "client5",
  ]);
});

Deno.test("a hinted knock is verified once among 10,000 clients, also the first time", async () => {
  const { clients, tried } = crowd(10_000);
  const rules = freshRules({ clients: [...clients, ALICE] });
  const datagram = await freshKnock(ALICE_PROFILE);
  assert.equal(outcome(datagram, rules, { nowNs: BigInt(Date.now()) * 1_000_000n }), "grant");
  assert.equal(tried(), 0);
});

Deno.test("an unhinted knock tries everyone the first time, and from then on its client first", async () => {
  const { clients, tried } = crowd(500);
  const rules = freshRules({ clients: [...clients, ALICE] });
  assert.equal(outcome(await knockBy(ALICE), rules), "grant");
  assert.equal(tried(), 500);
  assert.equal(outcome(await knockBy(ALICE, { randomNonce: filled(1, 16) }), rules), "grant");
  assert.equal(
    outcome(await knockBy(ALICE, { randomNonce: filled(2, 16) }), rules, { source: ELSEWHERE }),
    "grant",
  );
  assert.equal(tried(), 500);
});

Deno.test("only accepted knocks are remembered: replays, strangers and stale ones move no client to the front", async () => {
  const { clients } = crowd(20);
  const rules = freshRules({ clients: [...clients, ALICE] });
  outcome(await knockBy(MALLORY), rules);
  outcome(await knockBy(ALICE, { timestampNs: 0n }), rules);
  assert.equal(namesOf(rules.candidates as RankedCandidates, NO_HINT)[0], "client0");
});

Deno.test("a hint that names another client costs one key more, and proves nothing", async () => {
  const rules = freshRules();
  const lying = await hintedNonce(filled(0, 12), BOB.publicKey);
  assert.equal(outcome(await knockBy(ALICE, { randomNonce: lying }), rules), "grant");
  assert.equal(outcome(await knockBy(MALLORY, { randomNonce: lying }), rules), "signature");
});

Deno.test("identifying() never tries more keys than it may: one a step, and then comes who it was", async () => {
  const { clients, tried } = crowd(100);
  const rules = freshRules({ clients: [...clients, ALICE] });
  const datagram = await knockBy(ALICE);
  const knock = unseal(datagram, rules);
  assert.ok(typeof knock === "object", "a good knock");
  const steps = identifying({ knock, datagram, source: SOURCE }, rules.candidates);
  for (let keys = 1; keys <= 100; keys++) {
    assert.equal(steps.next().done, false);
    assert.equal(tried(), keys);
  }
  const { done, value } = steps.next();
  assert.ok(done && typeof value === "object" && value.key === ALICE.key);
});

Deno.test("what is remembered goes on under a changed configuration, without the clients that are gone", () => {
  const { clients } = crowd(5);
  const before = new RankedCandidates(indexOf([...clients, ALICE, BOB]));
  before.accepted(ALICE.key, SOURCE);
  before.accepted(BOB.key, SOURCE);
  assert.deepEqual(
    namesOf(new RankedCandidates(indexOf([...clients, ALICE]), before), NO_HINT).slice(0, 2),
    [
      "alice",
      "client0",
    ],
  );
});

Deno.test("the memory of accepted knocks is bounded, in sources and in clients", () => {
  const { clients } = crowd(1000);
  const candidates = new RankedCandidates(indexOf(clients));
  for (let i = 0; i < 20_000; i++) {
    candidates.accepted(
      clients[i % 1000]!.key,
      address(`10.${i >> 14}.${(i >> 7) & 127}.${i & 127}`),
    );
  }
  assert.deepEqual(candidates.remembered(), { sources: 4096, clients: 256 });
});
