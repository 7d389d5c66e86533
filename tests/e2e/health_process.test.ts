/** The health port, answered by a process of its own: what that one is, and how it comes and goes. */

import assert from "node:assert/strict";
import { lacks } from "../support/programs.ts";
import { waitFor } from "../support/wait.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import type { Lab } from "./lab.ts";
import { oneProcess, statusOf } from "./processes.ts";
import { Site } from "./site.ts";

/** The process that listens on the health port; `undefined` where there is none. */
async function listenerOf(lab: Lab): Promise<number | undefined> {
  const command = ["ss", "-Hltnp", `sport = :${KNOCK_PORT}`];
  const { stdout } = await lab.output("server", command);
  const pid = /pid=(\d+)/.exec(stdout)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

e2e("a process without rights answers the health port", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "8s",
    server: ["separate: auto"],
  });
  await using served = await site.serve();
  const listener = () => waitFor("the listener", () => listenerOf(lab));

  await t.step("it is another user, with no capability, and can get none", async () => {
    await site.knock("alice", ["--check"]);
    const status = statusOf(await listener());
    assert.equal(status["PPid"], String(served.pid));
    assert.doesNotMatch(status["Uid"]!, /\b0\b/);
    for (const name of ["CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
      assert.match(status[name]!, /^0+$/, name);
    }
    assert.equal(status["NoNewPrivs"], "1");
  });

  await t.step("one that dies is started again, and the log says so once", async () => {
    await site.knock("alice");
    for (let i = 0; i < 2; i++) {
      const pid = await listener();
      Deno.kill(pid, "SIGKILL");
      await waitFor("another one", async () => ![undefined, pid].includes(await listenerOf(lab)));
    }
    await site.knock("alice", ["--check"]);
    const told = served.lines.filter((line) => line.includes("event=health_unavailable"));
    assert.equal(told.length, 1);
    assert.match(told[0]!, / error="the process that listens has ended"/);
  });

  await t.step("it ends with the last grant", async () => {
    const pid = await listener();
    await waitFor("its end", () => Deno.stat(`/proc/${pid}`).then(() => false, () => true), {
      timeoutMs: 10_000,
    });
    assert.equal(await listenerOf(lab), undefined);
  });
}, { needs: oneProcess ?? lacks("setpriv") });
