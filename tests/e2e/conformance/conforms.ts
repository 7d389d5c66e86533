/**
 * What every backend owes (lib/firewall/backend.ts), tried against each that this machine can run: the same cases, with
 * real packets. One file a kind of firewall, so that they run beside each other.
 */

import assert from "node:assert/strict";
import type { BackendName } from "../../../lib/firewall/plan.ts";
import { e2e } from "../e2e.ts";
import { IPV4 } from "../lab.ts";
import { CANDIDATES } from "./candidates.ts";
import { tryFailures } from "./failures.ts";
import { tryOpenings } from "./openings.ts";
import { allRules } from "./runner.ts";
import { opening, startTrial, type Trial } from "./trial.ts";

/** Registers the tests of all candidates with these backends. */
export function testConformance(...names: readonly BackendName[]): void {
  for (const candidate of CANDIDATES.filter(({ name }) => names.includes(name))) {
    const { title, needs, acts = true } = candidate;
    e2e(`the backend ${title}`, async (lab, t) => {
      await using trial = await startTrial(lab, candidate);
      if (!acts) return await touchesNothing(t, trial);
      await tryOpenings(t, trial);
      await tryFailures(t, trial);
    }, { silentServer: false, needs });
  }
}

async function touchesNothing(t: Deno.TestContext, { lab, backend, before }: Trial): Promise<void> {
  await t.step("touches nothing", async () => {
    await backend.install([opening(IPV4.client, 60_000, "22/tcp")]);
    await backend.apply([opening(IPV4.other, 60_000, "22/tcp")]);
    assert.equal(await backend.isIntact(), true);
    assert.equal(await backend.examine(), undefined);
    assert.equal(await allRules(lab), before);
    await backend.remove();
    assert.equal(await allRules(lab), before);
  });
}
