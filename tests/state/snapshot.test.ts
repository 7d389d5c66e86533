/** The grants while no server runs: those that the last stop left in the firewall. */

import assert from "node:assert/strict";
import { readSnapshot } from "../../lib/state/read.ts";
import { Folder } from "../support/folder.ts";
import { grantOf, NOW_NS } from "../support/knocks.ts";
import { StillClock } from "../support/still_clock.ts";
import { copyOfState, knockRecord, open, take } from "./support.ts";

const NOW_MS = Number(NOW_NS / 1_000_000n);

function letIn(dir: string): string[] {
  return readSnapshot(dir, NOW_MS).grants.map(({ client }) => client);
}

Deno.test("a snapshot has the grants that a stop, or the processes before it, left in the firewall", async () => {
  await using folder = await Folder.create();
  const dir = folder.file("state");
  await Deno.mkdir(dir);
  const start = (at = dir, clock = new StillClock()) => open(at, { clock }).store;
  const first = open(dir);
  take(first, knockRecord(1, { opened: { grant: grantOf("alice"), renewed: false } }));
  assert.deepEqual(letIn(dir), ["alice"], "while it runs");
  const killed = await copyOfState(dir, folder.file("killed"));
  first.store.close({ grantsStand: true });
  assert.deepEqual(letIn(dir), ["alice"], "the guard stays");
  start().close();
  assert.deepEqual(letIn(dir), ["alice"], "one that did not come as far as the firewall");
  start().close({ grantsStand: false });
  assert.deepEqual(letIn(dir), [], "the guard is gone");
  start().close();
  assert.deepEqual(letIn(dir), [], "and no start has put it back");

  assert.deepEqual(letIn(killed), ["alice"], "killed");
  const again = await copyOfState(killed, folder.file("killed, another boot"));
  start(killed).close();
  assert.deepEqual(letIn(killed), ["alice"], "what was killed still stands");
  start(again, new StillClock(NOW_NS, { id: "boot-2" })).close();
  assert.deepEqual(letIn(again), [], "no table outlives its boot");
});
