/** `serve` as two processes: what happens when one of them is killed, hangs or is stopped. */

import assert from "node:assert/strict";
import { isAlive, LINE_MS } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { openme, Served } from "./openme.ts";
import { OPENME } from "../support/openme_command.ts";
import { startParties } from "./parties.ts";
import { oneProcess, takerOf } from "./processes.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";

/** Within which the other process has ended, and what a stop may take with a taker that does not answer. */
const ENDS_MS = 1000;
const STOP_MS = 4000;

const CLIENTS = { alice: ["22/tcp"], bob: ["22/tcp"] };
const SITE = { clients: CLIENTS, server: ["separate: auto"] };

e2e("either of two processes killed, and the restart after that", async (lab, t) => {
  const { client, other, isOpen, isClosed, isOpenToOther, knock } = await startParties(lab);
  await using site = await Site.create(lab, { ...SITE, knockTimeout: "4s" });
  const ends = async (pid: number) => {
    await waitFor("the other process to end", () => !isAlive(pid), {
      timeoutMs: ENDS_MS,
      everyMs: 20,
    });
  };
  const endsInTime = async (grantedMs: number) => {
    assert.equal(await isOpen(), true, "the grant goes on");
    assert.equal(await isOpenToOther(), false);
    await waitFor("the grant to end", isClosed, { timeoutMs: 6000 });
    const ms = performance.now() - grantedMs;
    assert.ok(ms > 3000 && ms < 5500, `${ms} ms`);
    assert.equal(await isOpenToOther(), false);
  };

  await t.step("the taker: the keeper ends with exit code 1, and leaves the guard", async () => {
    await using served = await site.serve();
    const taker = await takerOf(lab, served);
    await knock(site);
    await served.waitForLine(/event=granted/);
    const grantedMs = performance.now();
    Deno.kill(taker, "SIGKILL");
    await ends(served.pid);
    assert.equal((await served.status).code, 1);
    await served.waitForLine(/^openme: error: the process that takes knocks has ended/);
    await endsInTime(grantedMs);
  });
  await t.step("the keeper: the taker ends, and the guard stays", async () => {
    await using served = await site.serve();
    const taker = await takerOf(lab, served);
    await knock(site);
    await served.waitForLine(/event=granted/);
    const grantedMs = performance.now();
    Deno.kill(served.pid, "SIGKILL");
    await ends(taker);
    await endsInTime(grantedMs);
  });
  await t.step("the next start takes both over: who knocks is let in", async () => {
    await using served = await site.serve();
    await knock(site);
    await opens(client, IPV4.server, 22);
    await knock(site, other);
    await opens(other, IPV4.server, 22);
    await served.stop();
  });
}, { needs: oneProcess });

e2e("a taker that is stopped keeps nobody from anything but knocks", async (lab) => {
  const { other, isOpen, isClosed, isOpenToOther, knock } = await startParties(lab);
  await using site = await Site.create(lab, { ...SITE, knockTimeout: "3s" });
  await using served = await site.serve();
  const taker = await takerOf(lab, served);
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await openme(lab, "server", [
      ...args,
      ...["--config", site.config],
    ]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  await knock(site);
  await served.waitForLine(/event=granted client=alice/);
  Deno.kill(taker, "SIGSTOP");
  assert.equal(await isOpen(), true);
  await waitFor("a grant to end in time", isClosed, { timeoutMs: 4500 });
  await served.waitForLine(/event=expired client=alice/);

  Deno.kill(taker, "SIGCONT");
  await site.configure({ knockTimeout: "1m" });
  await served.waitForLine(/event=reloaded/);
  await knock(site);
  await other.send(await site.seal("bob"), IPV4.server, KNOCK_PORT);
  await served.waitForLine(/event=granted client=bob/);
  await served.waitForLine(/event=granted client=alice.*lifetime=1m/);
  Deno.kill(taker, "SIGSTOP");
  assert.match(await run("close", "alice"), /^closed 22\/tcp/);
  assert.deepEqual([await isOpen(), await isOpenToOther()], [false, true]);
  const from = served.lines.length;
  await run("revoke", "bob");
  await served.waitForLine(/event=withdrawn client=bob/, LINE_MS, from);
  assert.equal(await isOpenToOther(), false);

  Deno.kill(taker, "SIGCONT"); // what was said meanwhile, it hears now
  await served.waitForLine(/event=reloaded/, undefined, from);
  await knock(site, other);
  await served.waitForLine(/event=granted client=alice address=10\.0\.0\.3/);
  Deno.kill(taker, "SIGSTOP");
  const startMs = performance.now();
  await served.stop();
  assert.ok(performance.now() - startMs < STOP_MS, `${performance.now() - startMs} ms`);
  assert.ok(!isAlive(taker));
  assert.equal(await lab.ruleset(), "");
}, { needs: oneProcess });

e2e("signals to both processes are the keeper's", async (lab, t) => {
  const { client, knock } = await startParties(lab);
  await using site = await Site.create(lab, { ...SITE, knockTimeout: "1m" });

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await t.step(
      `${signal} to the process group, and to the taker, ends both cleanly`,
      async () => {
        await using served = new Served(
          lab.start("server", ["setsid", ...OPENME, "serve", "--config", site.config]),
        );
        await served.waitForLine(/event=listening/, 20_000);
        const taker = await takerOf(lab, served);
        Deno.kill(taker, signal); // as systemd sends it to everything in a unit
        Deno.kill(-served.pid, signal); // as a terminal does for Ctrl-C
        assert.equal((await served.status).code, 0, served.lines.join("\n"));
        await served.waitForLine(/event=stopped .*guard=removed/);
        assert.ok(!isAlive(taker));
        assert.equal(await lab.ruleset(), "");
      },
    );
  }
  await t.step("SIGUSR1 under traffic: the next one binds the port at once", async () => {
    let goesOn = true;
    const traffic = (async () => {
      while (goesOn) {
        await knock(site);
        const junk = crypto.getRandomValues(new Uint8Array(165));
        junk[0] = 1;
        await client.send(junk, IPV4.server, KNOCK_PORT);
      }
    })();
    for (let i = 0; i < 5; i++) {
      await using served = await site.serve();
      await served.waitForLine(/event=(granted|renewed) client=alice/);
      const taker = await takerOf(lab, served);
      const { code } = await served.kill("SIGUSR1");
      assert.equal(code, 0, served.lines.join("\n"));
      assert.ok(!isAlive(taker));
      await opens(client, IPV4.server, 22);
    }
    goesOn = false;
    await traffic;
    await using served = await site.serve();
    await served.stop();
  });
}, { needs: oneProcess });
