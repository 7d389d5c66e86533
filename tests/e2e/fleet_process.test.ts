/** The process that speaks with a fleet's engine beside a real `serve`: who has the connection, and what its death does. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { RedisServer } from "./fleet_engine.ts";
import { FleetHosts } from "./fleet_hosts.ts";
import { FLEET_SIDES, IPV4, type Lab } from "./lab.ts";
import { assertNoRights, networkSocketsOf, oneProcess, takerOf } from "./processes.ts";
import { lacks } from "../support/programs.ts";

/** The process of the server's side that is connected to the engine. */
async function connectedToEngine(lab: Lab): Promise<number> {
  const sockets = await lab.run("server", ["ss", "-Htnp", "dst", IPV4.engine]);
  const pids = new Set(Array.from(sockets.matchAll(/pid=(\d+)/g), ([, pid]) => Number(pid)));
  assert.equal(pids.size, 1, sockets);
  return [...pids][0]!;
}

e2e("the process that speaks with a fleet's engine", async (lab, t) => {
  await using engine = new RedisServer(lab, "swordfish");
  await engine.start();
  await using fleet = await FleetHosts.create(lab, { url: engine.url(), separate: "auto" });
  await fleet.serve(["server", "second"]);
  const served = fleet.served.get("server")!;
  const taker = await takerOf(lab, served);

  await t.step("has the connection and no right; the keeper has no TCP socket", async () => {
    const pid = await connectedToEngine(lab);
    assert.ok(pid !== served.pid && pid !== taker);
    assertNoRights(pid);
    // Where openme runs from source, Deno asks for its own updates, by UDP first.
    const sockets = await networkSocketsOf(lab, served.pid);
    assert.deepEqual(sockets.filter((line) => line.startsWith("tcp")), []);
    for (const file of ["cmdline", "environ"]) {
      assert.doesNotMatch(Deno.readTextFileSync(`/proc/${pid}/${file}`), /swordfish/);
    }
  });

  await t.step("killed, it is started again, and nothing else is harmed", async () => {
    const pid = await connectedToEngine(lab);
    const before = fleet.fresh();
    await fleet.send(await fleet.seal(before), "server");
    await fleet.opens(before, ["server", "second"]);
    const [down] = await fleet.logs(/event=fleet_down /, () => Deno.kill(pid, "SIGKILL"), {
      hosts: ["server"],
    });
    assert.match(down!, /has ended/);
    await served.waitForLine(/event=fleet_up /, 10_000, served.lines.indexOf(down!));
    assert.notEqual(await connectedToEngine(lab), pid);
    assert.equal(await takerOf(lab, served), taker);
    assert.deepEqual((await fleet.openAt(before)).slice(0, 2), ["server", "second"]);
    const after = fleet.fresh();
    await fleet.send(await fleet.seal(after), "second");
    await fleet.opens(after, ["server", "second"]);
  });

  await fleet.stop(["server", "second"]);
}, { needs: oneProcess ?? lacks("redis-server", "redis-cli"), sides: FLEET_SIDES });
