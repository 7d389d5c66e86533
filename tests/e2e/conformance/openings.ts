/** The promises about openings: which ports, for whom, how long; and that established connections go on. */

import assert from "node:assert/strict";
import { chooseBackend } from "../../../lib/firewall/choose.ts";
import { showingParts } from "../../../lib/firewall/none.ts";
import { pause, waitFor } from "../../support/wait.ts";
import { IPV4, IPV6 } from "../lab.ts";
import { allRules } from "./runner.ts";
import { opening, ranges, type Trial } from "./trial.ts";

export async function tryOpenings(t: Deno.TestContext, trial: Trial): Promise<void> {
  const { lab, host, standIn, client, make, reaches, reachesUdp, isOpen, isClosed } = trial;

  await t.step("shows what it would run, and runs none of it", async () => {
    const { dir, plan, candidate, before } = trial;
    const wasOpen = await isOpen(22);
    const shown: string[] = [];
    const parts = showingParts(trial.partsWith(), (text) => shown.push(text));
    const showing = await chooseBackend(candidate.name, parts);
    await showing.install([]);
    await showing.apply([opening(IPV4.client, 60_000, "22/tcp")]);
    await showing.apply([opening("192.0.2.0/24", 60_000, "22/tcp", "8080-8089/tcp")]);
    showing.reconfigure({ ...plan, guardedPorts: ranges("22/tcp") });
    await showing.install([opening(IPV6.client, 60_000, "22/tcp")]);
    for (const each of [IPV4.client, "192.0.2.0", IPV6.client]) {
      assert.ok(shown.some((text) => text.includes(each)), `${each}:\n${shown.join("")}`);
    }
    await showing.remove();
    assert.equal(await allRules(lab), before);
    assert.equal(await isOpen(22), wasOpen);
    assert.deepEqual([...Deno.readDirSync(dir)].filter(({ name }) => /json/.test(name)), []);
  });

  await t.step("closes the guarded ports, in both families", async () => {
    const isFirst = !host && !standIn;
    if (isFirst) assert.ok(await isOpen(22), "open without openme");
    // Connection tracking is idle before: it has never heard of this session.
    const session = isFirst ? await client.hold(IPV4.server, 22) : undefined;
    await trial.backend.install([]);
    if (session) {
      assert.ok(await session.echoes(), "what was open before the guard came goes on");
      await session.close();
    }
    assert.deepEqual(
      await Promise.all([isOpen(22), isOpen(22, 6), isOpen(8085), isOpen(80, 6)]),
      [false, false, false, false],
    );
    if (!host) assert.ok(await isOpen(9000), "what is not guarded stays open");
    assert.equal(await trial.backend.isIntact(), true);
    // Another process sees the same, or says that it cannot tell.
    const rules = await allRules(lab);
    for (const each of [trial.backend, await make()]) {
      const { wrong = [], unguarded = [], barred = [] } = await each.examine() ?? {};
      assert.deepEqual({ wrong, unguarded, barred }, { wrong: [], unguarded: [], barred: [] });
    }
    assert.equal(await allRules(lab), rules, "looking changes nothing");
  });

  await t.step("opens for one address, these ports, both families, and lists it", async () => {
    await trial.backend.apply([
      opening(IPV4.client, 60_000, "22/tcp", "8080-8089/tcp", "5353/udp"),
    ]);
    await trial.backend.apply([opening(IPV6.client, 60_000, "80/tcp")]);
    assert.ok(await isOpen(22));
    assert.ok(await isOpen(8080) && await isOpen(8085));
    assert.ok(await reachesUdp(5353));
    assert.ok(await isOpen(80, 6));
    assert.deepEqual(
      await Promise.all([isOpen(80), isOpen(8090), isOpen(22, 6), reaches("other", 22)]),
      [false, false, false, false],
    );
    const listed = await trial.backend.list();
    if (listed) {
      assert.deepEqual([...new Set(listed.map(({ address }) => address))].sort(), [
        IPV4.client,
        IPV6.client,
      ]);
    }
    assert.equal(await trial.backend.isIntact(), true);
  });

  await t.step("takes the same again, and less", async () => {
    await trial.backend.apply([opening(IPV4.client, 60_000, "22/tcp", "80/tcp")]);
    await trial.backend.apply([opening(IPV4.client, 60_000, "22/tcp", "80/tcp")]);
    assert.ok(await isOpen(22) && await isOpen(80));
    assert.ok(await isClosed(8085));
    await trial.backend.apply([opening(IPV4.client, 60_000), opening(IPV6.client, 60_000)]);
    assert.ok(await isClosed(22) && await isClosed(80) && await isClosed(80, 6));
    await trial.backend.apply([opening(IPV4.client, 60_000)]);
  });

  await t.step("ends an opening by itself, and renews", async () => {
    await trial.backend.apply([
      opening(IPV4.client, 4000, "22/tcp"),
      opening(IPV6.client, 4000, "22/tcp"),
    ]);
    assert.ok(await isOpen(22) && await isOpen(22, 6));
    await pause(1000);
    await trial.backend.apply([opening(IPV6.client, 8000, "22/tcp")]);
    await waitFor("the opening to end", () => isClosed(22));
    assert.ok(await isOpen(22, 6), "the renewed one lasts");
    await waitFor("the renewed opening to end", () => isClosed(22, 6), { timeoutMs: 10_000 });
  });

  await t.step(
    "opens for a network, beside an address in it, and each ends by itself",
    async () => {
      const networks = { 4: "10.0.0.0/24", 6: "fd00::/64" };
      for (const family of [4, 6] as const) {
        const [network, mine] = [networks[family], (family === 4 ? IPV4 : IPV6).client];
        await trial.backend.apply([
          opening(mine, 60_000, "22/tcp", "80/tcp"),
          opening(network, 60_000, "22/tcp"),
        ]);
        assert.ok(await reaches("other", 22, family), "nobody knocked for that address");
        assert.ok(await isOpen(22, family) && await isOpen(80, family));
        assert.equal(await reaches("other", 80, family), false);
        const listed = await trial.backend.list();
        if (listed) {
          assert.deepEqual([...new Set(listed.map(({ address }) => address))].sort(), [
            network,
            mine,
          ]);
        }
        // Renewed with other ports, then the one ends, then the other.
        await trial.backend.apply([
          opening(network, 60_000, "20-30/tcp"),
          opening(mine, 60_000, "22/tcp"),
        ]);
        assert.ok(await reaches("other", 22, family));
        await trial.backend.apply([opening(mine, 0)]);
        assert.ok(await reaches("other", 22, family));
        await trial.backend.apply([opening(mine, 60_000, "22/tcp"), opening(network, 0)]);
        assert.equal(await reaches("other", 22, family), false);
        assert.ok(await isOpen(22, family));
        await trial.backend.apply([opening(mine, 0)]);
      }
      const both = [networks[4], networks[6]];
      await trial.backend.apply(both.map((each) => opening(each, 4000, "22/tcp")));
      assert.ok(await reaches("other", 22) && await reaches("other", 22, 6));
      await waitFor("a network to close", async () => !await reaches("other", 22));
      await waitFor("the other to close", async () => !await reaches("other", 22, 6));
      assert.ok(await isClosed(22) && await isClosed(22, 6));
      assert.equal(await trial.backend.isIntact(), true);
    },
  );

  await t.step("keeps what one of two clients at an address still holds", async () => {
    const both = opening(IPV4.client, 60_000, "22/tcp");
    await trial.backend.apply([{
      ...both,
      openings: [...both.openings, ...opening(IPV4.client, 4000, "80/tcp").openings],
      clients: ["alice", "bob"],
    }]);
    assert.ok(await isOpen(22) && await isOpen(80));
    await waitFor("the shorter one to end", () => isClosed(80));
    assert.ok(await isOpen(22));
  });

  // A stand-in has no connections.
  if (!standIn) {
    await t.step("lets what is established go on", async () => {
      const session = await client.hold(IPV4.server, 22);
      await trial.backend.apply(
        [opening(IPV4.client, 0)].map((each) => ({ ...each, openings: [] })),
      );
      assert.ok(await isClosed(22));
      assert.ok(await session.echoes());
      await session.close();
    });
  }
}
