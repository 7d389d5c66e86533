/** A fleet of three hosts on a real Redis: one knock opens at all of them, and its replay at none. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { RedisServer } from "./fleet_engine.ts";
import { FleetHosts, type FreshClient, type Host, HOSTS } from "./fleet_hosts.ts";
import { FLEET_SIDES, IPV4 } from "./lab.ts";
import { loadCodes } from "../../lib/config/codes.ts";
import { lacks } from "../support/programs.ts";
import { pause, waitFor } from "../support/wait.ts";

const needs = lacks("redis-server", "redis-cli");
const OTHERS: readonly Host[] = ["second", "third"];
const SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

e2e("a fleet", async (lab, t) => {
  await using engine = new RedisServer(lab, "swordfish");
  await engine.start();
  await using fleet = await FleetHosts.create(lab, {
    ...{ url: engine.url(), knockTimeout: "10s", totp: SECRET },
  });
  const { client, other } = fleet;
  await fleet.serve();
  const replays = (host: Host) =>
    fleet.lines(host).filter((line) => line.includes("reason=replay")).length;
  /** On a busy machine: a host that gets no answer within a claim's time goes on alone. */
  const notClaimed = () =>
    HOSTS.flatMap((host) => fleet.lines(host)).filter((line) => line.includes("not_claimed"))
      .length;

  await t.step("one knock with openme knock opens at every host", async () => {
    const fresh = fleet.fresh();
    assert.deepEqual(await fleet.openAt(fresh), []);
    await fleet.sites.server.knock(fresh.name);
    await fleet.opens(fresh);
    assert.deepEqual(await fleet.openAt(fresh, other), []);
    await fleet.assertOnce(fresh, IPV4.client);
  });

  await t.step("an attacker's copy opens nothing, as others hear of it or afterwards", async () => {
    const fresh = fleet.fresh();
    const knock = await fleet.seal(fresh);
    const before = OTHERS.map(replays);
    await fleet.send(knock, "server");
    await waitFor("the claim", () => fleet.letIn(fresh, "server").length > 0, { everyMs: 1 });
    await Promise.all(OTHERS.map((host) => fleet.send(knock, host, other)));
    await fleet.opens(fresh);
    for (const host of HOSTS) await fleet.send(knock, host, other);
    await waitFor(
      "the refusals",
      () => OTHERS.every((host, i) => replays(host) === before[i]! + 2),
    );
    assert.deepEqual(await fleet.openAt(fresh, other), []);
    await fleet.assertOnce(fresh, IPV4.client);
  });

  await t.step("sent to two hosts by two addresses at once, it lets one of them in", async () => {
    for (let [i, good] = [0, 0]; good < 6; i++) {
      assert.ok(i < 20, "the engine seldom answers within a claim's 50 ms");
      const before = notClaimed();
      const fresh = fleet.fresh();
      const knock = await fleet.seal(fresh);
      await Promise.all([
        fleet.send(knock, "server"),
        fleet.send(knock, "second", other),
      ]);
      await waitFor(
        "all to be open",
        () => HOSTS.every((host) => fleet.letIn(fresh, host).length > 0),
      );
      if (notClaimed() > before) continue;
      good++;
      const [first] = fleet.letIn(fresh, "third");
      await fleet.assertOnce(fresh, first!);
    }
  });

  await t.step(
    "an attacker who was first lets in the address that he has, and no other",
    async () => {
      const fresh = fleet.fresh();
      const knock = await fleet.seal(fresh);
      await fleet.send(knock, "third", other);
      await waitFor("all to be open", async () => (await fleet.openAt(fresh, other)).length === 3);
      for (const host of HOSTS) await fleet.send(knock, host);
      await waitFor("the refusals", () => HOSTS.every((host) => replays(host) > 0));
      assert.deepEqual(await fleet.openAt(fresh), []);
      await fleet.assertOnce(fresh, IPV4.other);
    },
  );

  await t.step("a code is judged by every host, and is good once for all of them", async () => {
    const codeAt = await loadCodes();
    const codeOfNow = () => codeAt(SECRET, Math.floor(Date.now() / 30_000));
    const refused = (host: Host, { name }: FreshClient, reason: string) =>
      fleet.served.get(host)!.waitForLine(new RegExp(`reason=${reason} .*client=${name}`));
    const fresh = fleet.freshCoded();
    const [code, wrong] = [codeOfNow(), (codeOfNow() + 1) % 1e6];
    await fleet.send(await fleet.seal(fresh), "server");
    await refused("server", fresh, "code_missing");
    await fleet.send(await fleet.seal(fresh, { code: wrong }), "server");
    await refused("server", fresh, "code_wrong");
    assert.deepEqual(await fleet.openAt(fresh), []);
    await fleet.sites.server.knock(fresh.name, ["--code", String(code).padStart(6, "0")]);
    await fleet.opens(fresh);
    // Who has the key and has seen the code.
    for (const host of HOSTS) {
      await fleet.send(await fleet.seal(fresh, { code }), host, other);
      await refused(host, fresh, "code_used");
    }
    assert.deepEqual(await fleet.openAt(fresh, other), []);
    await fleet.assertOnce(fresh, IPV4.client);
  });

  await t.step(
    "a code that two addresses use at once at two hosts lets in one of them",
    async () => {
      const codeAt = await loadCodes();
      for (let good = 0; good < 3;) {
        const before = notClaimed();
        const fresh = fleet.freshCoded();
        const code = codeAt(SECRET, Math.floor(Date.now() / 30_000));
        const [mine, theirs] = [
          await fleet.seal(fresh, { code }),
          await fleet.seal(fresh, { code }),
        ];
        await Promise.all([
          fleet.send(mine, "server"),
          fleet.send(theirs, "second", other),
        ]);
        await waitFor(
          "all to be open",
          () => HOSTS.every((host) => fleet.letIn(fresh, host).length > 0),
        );
        if (notClaimed() > before) continue;
        good++;
        const [first] = fleet.letIn(fresh, "third");
        await fleet.assertOnce(fresh, first!);
      }
    },
  );

  await t.step("a host that starts a second later opens for the rest of the time", async () => {
    await fleet.stop(["second"]);
    const fresh = fleet.fresh();
    const knock = await fleet.seal(fresh);
    await fleet.send(knock, "server");
    await fleet.opens(fresh, ["server", "third"]);
    await pause(1000);
    // The datagrams wait in the kernel, and are the first thing that the host reads.
    const end = new AbortController();
    const attack = async () => {
      while (!end.signal.aborted) {
        await fleet.send(knock, "second", other);
        await pause(5);
      }
    };
    const attacking = attack();
    await fleet.serve(["second"]);
    await fleet.opens(fresh);
    end.abort();
    await attacking;
    await fleet.assertOnce(fresh, IPV4.client);
    assert.deepEqual(await fleet.openAt(fresh, other), []);
    const granted = fleet.lines("second").find((line) => / event=granted /.test(line))!;
    const [, seconds] = / lifetime=([\d.]+)s/.exec(granted) ?? [];
    assert.ok(Number(seconds) < 9 && Number(seconds) > 1, granted);
  });

  await t.step("a host that was killed has forgotten nothing when it is back", async () => {
    const fresh = fleet.fresh();
    const knock = await fleet.seal(fresh);
    await fleet.send(knock, "server");
    await fleet.opens(fresh);
    await fleet.served.get("third")!.kill("SIGKILL");
    await fleet.serve(["third"]);
    await fleet.send(knock, "third", other);
    await fleet.served.get("third")!.waitForLine(/reason=replay source=10\.0\.0\.3 /);
    assert.deepEqual(fleet.letIn(fresh, "third"), []);
    assert.deepEqual(await fleet.openAt(fresh, other), []);
    assert.ok(await client.reaches(IPV4.third, fresh.port), "what was open has been put back");
  });

  await fleet.stop();
}, { needs, sides: FLEET_SIDES });
