/** One of each rule of a client's entry, from the datagram to the port. The edges are in tests/config/client_rules.test.ts. */

import assert from "node:assert/strict";
import { blocksUnder } from "../documents/blocks.ts";
import { Session } from "../documents/session.ts";
import { waitFor } from "../support/wait.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { closesOnTime, opens } from "./timing.ts";

/** Hours in UTC that begin so many hours from now and last for two. */
function hoursFromNow(hours: number): string {
  const [from, to] = [hours, hours + 2].map((each) =>
    new Date(Date.now() + each * 3_600_000).toISOString().slice(11, 16)
  );
  return `hours: ${from}-${to} UTC`;
}

e2e("the rules of a client's entry", async (lab, t) => {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22] });
  const clients = { alice: ["22/tcp"], bob: ["22/tcp"] };
  const send = (knock: Uint8Array) => client.send(knock, IPV4.server, KNOCK_PORT);
  const isClosed = async () => assert.equal(await client.connect(IPV4.server, 22), "timeout");

  /** Waits until the history has so many refusals for this reason. */
  const refused = async (site: Site, reason: string, count = 1) => {
    const command = ["history", "--json", "--config", site.config];
    await waitFor(`refused (${reason})`, async () => {
      const { stdout } = await openme(lab, "server", command);
      const { history } = JSON.parse(stdout) as { history: Record<string, unknown>[] };
      const found = history.filter((each) => each["reason"] === reason);
      assert.ok(found.every((each) => String(each["cause"]).length > 20));
      return found.length === count;
    });
  };

  for (
    const { reason, against, fulfilled } of [
      { reason: "from", against: "from: 192.0.2.0/24", fulfilled: `from: ${IPV4.client}/32` },
      { reason: "hours", against: hoursFromNow(3), fulfilled: hoursFromNow(-1) },
    ]
  ) {
    await t.step(
      `${reason}: refused, then let in, and the refused knock is of no use`,
      async () => {
        const clientLines = { alice: [against] };
        await using site = await Site.create(lab, { clients, clientLines });
        const first = await site.serve();
        const knock = await site.seal("alice");
        await send(knock);
        await refused(site, reason);
        await isClosed();
        await site.configure({ clientLines: { alice: [fulfilled] } });
        await first.waitForLine(/event=reloaded /);
        await send(knock);
        await isClosed();
        await first.kill("SIGKILL");
        await using _second = await site.serve();
        await send(knock);
        await isClosed();
        await send(await site.seal("alice"));
        await opens(client, IPV4.server, 22);
      },
    );
  }

  await t.step(
    "uses: 1 opens once, also after a restart, and for nobody who sends it again",
    async () => {
      await using site = await Site.create(lab, { clients, clientLines: { alice: ["uses: 1"] } });
      const first = await site.serve();
      const knock = await site.seal("alice");
      await send(knock);
      await opens(client, IPV4.server, 22);
      await first.waitForLine(/event=expired client=alice/);
      await first.kill("SIGKILL");
      await using _second = await site.serve();
      const second = await site.seal("alice");
      await send(second);
      await refused(site, "uses");
      await send(second);
      await send(knock);
      await isClosed();
      const listed = await openme(lab, "server", ["list", "--config", site.config]);
      assert.match(listed.stdout, /once \(0 left\)/);
    },
  );

  await t.step("needs: two people on two hosts, each with a key of their own", async () => {
    const clientLines = { alice: ["needs: [bob]"] };
    await using site = await Site.create(lab, { clients, clientLines });
    const first = await site.serve();
    const knock = await site.seal("alice");
    await send(knock);
    await refused(site, "needs");
    await isClosed();
    await site.knock("bob", [], "other");
    await opens(other, IPV4.server, 22);
    await opens(client, IPV4.server, 22);
    await first.waitForLine(/event=expired client=alice/);
    await first.kill("SIGKILL");
    await using second = await site.serve();
    await send(knock);
    await site.knock("bob", [], "other");
    await second.waitForLine(/event=(granted|renewed) client=bob/);
    await isClosed();
  });

  await t.step(
    "lifetime: opens for as long as the entry says, and a shorter one holds at once",
    async () => {
      await using site = await Site.create(lab, {
        clients,
        knockTimeout: "1s",
        clientLines: { alice: ["lifetime: 60s"] },
      });
      await using served = await site.serve();
      await send(await site.seal("alice"));
      await served.waitForLine(/granted client=alice .*lifetime=1m0s/);
      await opens(client, IPV4.server, 22);
      const fromMs = performance.now();
      await site.configure({ clientLines: { alice: ["lifetime: 2s"] } });
      await served.waitForLine(/narrowed client=alice/);
      const toMs = performance.now();
      await closesOnTime(() => client.reaches(IPV4.server, 22), {
        fromMs: fromMs + 2000,
        toMs: toMs + 2000,
      });
    },
  );
});

e2e("the entries of docs/living.md", async (lab) => {
  await using session = await Session.create(lab);
  await session.install();
  const shown = {
    "A working day": /while used, at most 10h0m0s/,
    "A contractor": /Mon-Fri 08:00-18:00 Europe\/Berlin; from 203\.0\.113\.0\/24; for 8h0m0s/,
    "An envelope for emergencies": /envelope .* for 1h0m0s; once \(1 left\)/,
    "Two people": /together with chief/,
  };
  for (const [heading, line] of Object.entries(shown)) {
    const document = "docs/living.md";
    const [block] = await blocksUnder({ document, heading, test: import.meta.url });
    const [add, list] = [...block!.text.matchAll(/^vps\$ (.*)$/gm)].map(([, line]) => line!);
    await session.type({ side: "server", command: add! });
    assert.match((await session.output("server", list!)).stdout, line);
  }
}, { silentServer: false });
