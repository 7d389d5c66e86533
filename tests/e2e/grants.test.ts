/** How long a grant lasts, and what does not end with it. */

import assert from "node:assert/strict";
import type { Agent } from "./agent_client.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6 } from "./lab.ts";
import { HOST_FIREWALL, OWN_TABLE, parseRuleset } from "./rules.ts";
import { Site } from "./site.ts";
import { closesOnTime, opens } from "./timing.ts";
import { pause } from "../support/wait.ts";

const LIFETIME_MS = 2000;

/** Sends a knock and waits until it has opened the port; gives the bounds of when it did. */
async function knockAt(
  client: Agent,
  knock: Uint8Array,
  port: number,
): Promise<{ fromMs: number; toMs: number }> {
  const fromMs = performance.now();
  await client.send(knock, IPV4.server, KNOCK_PORT);
  await opens(client, IPV4.server, port);
  return { fromMs, toMs: performance.now() };
}

function endOf({ fromMs, toMs }: { fromMs: number; toMs: number }, lifetimeMs = LIFETIME_MS) {
  return { fromMs: fromMs + lifetimeMs, toMs: toMs + lifetimeMs };
}

e2e("a grant", async (lab, t) => {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22, 80, 443, 8081, 8084, 8089] });
  const reaches = (port: number) => client.reaches(IPV4.server, port);

  await t.step("is not needed by a connection that was open before serve started", async () => {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    // This step comes first: conntrack remembers connections long after the last rule that asked for it.
    const running = await Promise.all(
      [IPV4.server, IPV6.server].map((host) => client.hold(host, 22)),
    );
    assert.equal(await lab.ruleset(), "");
    assert.equal(await lab.conntrackCount(), 0, "conntrack is to know nothing of them");
    await using served = await site.serve();
    for (const connection of running) {
      assert.ok(await connection.echoes(), "the client speaks first");
    }
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
    await served.stop();
    for (const connection of running) {
      assert.ok(await connection.echoes());
      await connection.close();
    }
  });

  for (const { title, dropPorts, hostRules, holes } of [OWN_TABLE, HOST_FIREWALL]) {
    const create = async (clients: Record<string, string[]> = { alice: ["22/tcp"] }) => {
      const site = await Site.create(lab, { clients, dropPorts, knockTimeout: "2s" });
      await lab.nft(hostRules);
      return site;
    };

    await t.step(
      `ends by itself although serve was killed right after the knock (${title})`,
      async () => {
        await using site = await create();
        const served = await site.serve();
        const knocked = await knockAt(client, await site.seal("alice"), 22);
        await served.kill("SIGKILL");
        assert.ok(await client.reaches(IPV4.server, 22, 1000), "open until its time is over");
        await closesOnTime(() => reaches(22), endOf(knocked));
        assert.equal(await other.connect(IPV4.server, 22), "timeout");
        // What the dead one left is neither doubled nor left behind by the next.
        const left = parseRuleset(await lab.ruleset());
        assert.deepEqual([left.hasTable, left.holes.length], [true, holes]);
        await using next = await site.serve();
        assert.equal(parseRuleset(await lab.ruleset()).holes.length, holes);
        assert.equal(await reaches(22), false);
        await next.stop();
        assert.deepEqual(parseRuleset(await lab.ruleset()), {
          foreign: left.foreign,
          holes: [],
          hasTable: false,
        });
      },
    );

    await t.step(
      `is extended by another knock, and a connection outlives it (${title})`,
      async () => {
        await using site = await create();
        await using served = await site.serve();
        const first = await knockAt(client, await site.seal("alice"), 22);
        const connection = await client.hold(IPV4.server, 22);
        assert.ok(await connection.echoes());
        await pause(first.toMs + 1000 - performance.now());
        const second = { fromMs: performance.now(), toMs: 0 };
        await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
        await served.waitForLine(/renewed client=alice address=10\.0\.0\.2 /);
        second.toMs = performance.now();
        await closesOnTime(() => reaches(22), endOf(second));
        assert.ok(await connection.echoes(), "an established connection goes on");
        await served.stop();
        assert.ok(await connection.echoes(), "also when openme stops");
        await connection.close();
      },
    );

    await t.step(
      `of one client does not end another's at the same address (${title})`,
      async () => {
        await using site = await create({
          alice: ["22/tcp", "443/tcp", "8080-8085/tcp"],
          bob: ["80/tcp", "443/tcp", "8083-8090/tcp"],
        });
        await site.configure({ knockTimeout: "3s" });
        await using _served = await site.serve();
        const alice = await knockAt(client, await site.seal("alice"), 22);
        assert.equal(await reaches(80), false);
        await pause(alice.toMs + 1500 - performance.now());
        const bob = await knockAt(client, await site.seal("bob"), 80);
        const open = await Promise.all([22, 80, 443, 8081, 8084, 8089].map(reaches));
        assert.deepEqual(new Set(open), new Set([true]));
        await closesOnTime(() => reaches(22), endOf(alice, 3000));
        const bobs = [80, 443, 8084, 8089];
        const [alicesOwn, ...bobsOwn] = await Promise.all([8081, ...bobs].map(reaches));
        assert.equal(alicesOwn, false, "alice's alone");
        assert.deepEqual(new Set(bobsOwn), new Set([true]));
        await Promise.all(bobs.map((port) => closesOnTime(() => reaches(port), endOf(bob, 3000))));
      },
    );

    await t.step(`is put back with the time it has left after SIGKILL (${title})`, async () => {
      await using site = await create({ alice: ["22/tcp"], bob: ["80/tcp"] });
      await site.configure({ knockTimeout: "8s" }); // time enough for another start;
      const killed = await site.serve();
      const knocked = await knockAt(client, await site.seal("alice"), 22);
      await client.send(await site.seal("bob"), IPV4.server, KNOCK_PORT);
      await opens(client, IPV4.server, 80);
      const connection = await client.hold(IPV4.server, 22);
      await killed.kill("SIGKILL");
      // As after a reboot of the firewall: what is open now, openme has put back.
      await lab.nft(`flush ruleset\n${hostRules}`);
      await site.configure({ clients: { alice: ["22/tcp"] }, ports: { web: ["80/tcp"] } });
      await using _served = await site.serve();
      assert.ok(await client.reaches(IPV4.server, 22, 1000));
      assert.equal(await reaches(80), false, "bob is no longer in the configuration");
      assert.equal(await other.connect(IPV4.server, 22), "timeout");
      await closesOnTime(() => reaches(22), endOf(knocked, 8000));
      assert.ok(await connection.echoes());
      await connection.close();
    });
  }
});
