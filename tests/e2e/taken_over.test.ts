/** A taker that is another program: one that was taken over. From source, where a test can put it in the taker's place. */

import assert from "node:assert/strict";
import { isAlive } from "../support/spawned.ts";
import { pause, waitFor } from "../support/wait.ts";
import { e2e } from "./e2e.ts";
import { noStandIn, serveWithStandIn, statusOf, takerOf } from "./processes.ts";
import { Site } from "./site.ts";

const SITE = { clients: { alice: ["22/tcp"], bob: ["80/tcp"] }, server: ["separate: auto"] };

e2e("a taker that was taken over", async (lab, t) => {
  await using site = await Site.create(lab, SITE);
  await t.step("can do nothing but receive", async () => {
    await using served = await serveWithStandIn(lab, site, "probe");
    const outcome = await served.waitForLine(/event=taker_said line=.*probe/, 20_000);
    assert.match(outcome, /probe tried=3\d others=\{\}/);
    await site.knock("alice");
    await served.waitForLine(/event=granted client=alice/);
    await served.stop();
  });
  await t.step("cannot keep the server from stopping by doing nothing", async () => {
    await using served = await serveWithStandIn(lab, site, "hangs");
    const taker = await takerOf(lab, served);
    await isBusy(taker);
    await site.sessions();
    const startMs = performance.now();
    await served.stop();
    assert.ok(performance.now() - startMs < 4000);
    assert.equal(await lab.ruleset(), "");
  });
}, { needs: noStandIn });

e2e("the keeper killed while the taker hangs: the taker ends too", async (lab) => {
  await using site = await Site.create(lab, SITE);
  await using served = await serveWithStandIn(lab, site, "hangs");
  const taker = await takerOf(lab, served);
  await pause(2500); // it hangs after a second
  assert.ok(statusOf(taker)["State"]!.startsWith("R"), statusOf(taker)["State"]);
  Deno.kill(served.pid, "SIGKILL");
  await waitFor("the taker to end", () => !isAlive(taker), { timeoutMs: 1000, everyMs: 20 });
}, { needs: noStandIn, silentServer: false });

/** Waits until a process uses a core for itself. */
async function isBusy(pid: number): Promise<void> {
  const ticks = () => {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]!.split(" ");
    return Number(stat[11]) + Number(stat[12]);
  };
  let before = ticks();
  await waitFor("the taker to hang", () => {
    const now = ticks();
    const isHanging = now - before > 25;
    before = now;
    return isHanging;
  }, { timeoutMs: 20_000, everyMs: 1000 });
}
