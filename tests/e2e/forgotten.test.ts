/** Connection tracking forgets everything (`conntrack -F`, a failover): sessions whose grant is over go on all the same. */

import assert from "node:assert/strict";
import { lacks } from "../support/programs.ts";
import { e2e } from "./e2e.ts";
import { IPV4, IPV6 } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

const needs = lacks("conntrack", "ss");

e2e("a flush of connection tracking freezes no session", async (lab, t) => {
  await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  await using served = await site.serve();
  await site.knock("alice", ["--ip", IPV6.client]);
  await site.knock("alice", ["--wait", "22/tcp"]);
  const held = [
    await client.hold(IPV4.server, 22),
    await client.hold(IPV4.server, 22),
    await client.hold(IPV6.server, 22),
  ];
  await served.waitForLine(/event=expired client=alice address=10\.0\.0\.2/, 10_000);
  await served.waitForLine(/event=expired client=alice address=fd00::2/, 10_000);
  // On a busy machine the kernel's own end is some ms later than the log's.
  for (const address of [IPV4.server, IPV6.server]) {
    await waitFor("the kernel's end", async () => await client.connect(address, 22) === "timeout");
  }
  const notes = async () =>
    (await Promise.all(
      ["kept4", "kept6"].map((set) =>
        lab.run("server", ["nft", "list", "set", "inet", "openme", set])
      ),
    )).join("").split(" expires ").length - 1;
  const flush = () => lab.run("server", ["conntrack", "-F"]);

  await t.step("they go on, again and again, and nobody new gets in", async () => {
    for (let round = 0; round < 3; round++) {
      await flush();
      for (const each of held) assert.equal(await each.echoes(), true);
      assert.equal(await client.connect(IPV4.server, 22), "timeout");
      assert.equal(await client.connect(IPV6.server, 22), "timeout");
    }
    assert.equal(await notes(), 3);
  });

  await t.step("also when the table is made anew meanwhile", async () => {
    const from = served.lines.length;
    await site.configure({ clients: { alice: ["22/tcp"], bob: ["80/tcp"] } });
    await served.waitForLine(/event=reloaded/, LINE_MS, from);
    // A connection that ends while the new table is written is noted there, with nobody behind it.
    await waitFor("the new table", async () => /tcp \. 80\b/.test(await lab.ruleset()));
    await flush();
    for (const each of held) assert.equal(await each.echoes(), true);
  });

  await t.step("one that has ended leaves no note", async () => {
    await held[1]!.close();
    await waitFor("the note to go", async () => await notes() === 2);
  });

  await t.step("close --kill cuts them for good", async () => {
    await flush();
    const args = ["close", "alice", "--kill", "--config", site.config];
    const { code, stdout, stderr } = await openme(lab, "server", args);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: "cut 2 connections\n" }, stderr);
    for (const each of [held[0]!, held[2]!]) {
      assert.equal(await each.echoes(500).catch(() => false), false);
    }
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
  });
}, { needs });
