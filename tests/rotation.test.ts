/** Two keys at once: of the server, and of a client; and a client that gets another name. */

import assert from "node:assert/strict";
import { keyAgreement, publicKeyOf } from "../lib/crypto/sync.ts";
import { Grants } from "../lib/grants.ts";
import { resumeGrant } from "../lib/receive/grant_changes.ts";
import {
  agreeAsServer,
  ALICE,
  filled,
  freshRules,
  knockBy,
  MALLORY,
  memoryOf,
  moment,
  outcome,
  permission,
  SERVER_PUBLIC_KEY,
  SOURCE,
} from "./support/knocks.ts";

/** The key that came after the one that knocks are sealed to here. */
const NEW_AGREE = keyAgreement(filled(0x52));

Deno.test("judge() takes knocks sealed to the server's key before this one while that is good", async () => {
  assert.notDeepEqual(publicKeyOf("X25519", filled(0x52)), SERVER_PUBLIC_KEY);
  const datagram = await knockBy(ALICE);
  const rotating = freshRules({ agree: NEW_AGREE, previousAgree: agreeAsServer });
  assert.equal(outcome(datagram, rotating), "grant");
  assert.equal(outcome(datagram, rotating), "replay");
  assert.equal(outcome(datagram, freshRules({ agree: NEW_AGREE })), "decrypt");
  const both = freshRules({ agree: agreeAsServer, previousAgree: NEW_AGREE });
  assert.equal(outcome(datagram, both), "grant");
});

Deno.test("judge() drops for the same reasons with two server keys as with one", async () => {
  const rules = freshRules({ agree: NEW_AGREE, previousAgree: agreeAsServer });
  const before = memoryOf(rules);
  const good = await knockBy(ALICE);
  const lowOrder = Uint8Array.from([1, ...new Uint8Array(32), ...good.subarray(33)]);
  const rows = [
    { expected: "size", datagram: good.subarray(1) },
    { expected: "version", datagram: Uint8Array.from([2, ...good.subarray(1)]) },
    { expected: "key_agreement", datagram: lowOrder },
    { expected: "decrypt", datagram: good.with(60, good[60]! ^ 1) },
    { expected: "signature", datagram: await knockBy(MALLORY) },
  ];
  for (const { expected, datagram } of rows) assert.equal(outcome(datagram, rules), expected);
  assert.deepEqual(memoryOf(rules), before);
});

Deno.test("resumeGrant() keeps what a key has opened when its client gets another name", () => {
  const alice = permission("alice", ["22/tcp"]);
  const { grant } = new Grants().open(SOURCE, alice, moment(0));
  const renamed = resumeGrant(grant, { ...alice, client: "alicia" }, moment(1000), {
    sameBoot: true,
  });
  assert.deepEqual(renamed, { ...grant, client: "alicia" });
});
