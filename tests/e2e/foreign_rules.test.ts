/** A server beside many rules of other people: what they have loaded must not slow openme down. */

import assert from "node:assert/strict";
import { CHECK_INTERVAL_MS } from "../../lib/firewall/guard.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { blocklist, loadBlocklist } from "./foreign.ts";
import { IPV4 } from "./lab.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { pause, waitFor } from "../support/wait.ts";

/** What docs/firewalls.md promises. */
const REPAIRED_MS = 10_000;

async function elapsedMs(act: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await act();
  return performance.now() - startedMs;
}

e2e("a knock beside a blocklist of 200,000 addresses", async (lab, t) => {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  await using site = await Site.create(lab, { clients: { alice: ["22/tcp", "8000-8010/tcp"] } });
  await using served = await site.serve();
  await loadBlocklist(lab, 200_000);
  // nft reads the whole list for this, as it does for `add element` in openme's own sets.
  await lab.nft("add table inet other\nadd set inet other addresses { type ipv4_addr; }\n");
  const readingMs = await elapsedMs(() =>
    lab.nft("add element inet other addresses { 192.0.2.1 }\n")
  );

  const closes = () =>
    waitFor("the port to close", async () => !await client.reaches(IPV4.server, 22, 100));
  const opensSoon = async () => {
    const knockMs = await elapsedMs(async () => {
      await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
      await opens(client, IPV4.server, 22);
    });
    assert.ok(knockMs < readingMs / 3, `${knockMs} ms, reading the list ${readingMs} ms`);
  };

  await t.step("opens without reading the list", async () => {
    for (let knock = 0; knock < 3; knock++) {
      await opensSoon();
      await closes();
    }
  });

  await t.step("opens while another list is replaced again and again", async () => {
    await closes();
    let replacing = true;
    const other = blocklist(1000, "other_blocklist");
    const replaced = (async () => {
      while (replacing) await lab.nft(other);
    })();
    try {
      await opensSoon();
    } finally {
      replacing = false;
      await replaced;
    }
  });
  await served.stop();
});

for (const firewall of ["nft", "iptables-nft"]) {
  e2e(`the check of ${firewall} beside rules of others`, async (lab, t) => {
    const folder = await Deno.makeTempDir({ prefix: "openme-e2e-bin-" });
    const ran = `${folder}/ran`;
    const forgetRuns = () => Deno.writeTextFile(ran, "");
    /** What was listed since, but for the counters of openme's own chains. */
    const listings = async () =>
      (await Deno.readTextFile(ran)).split("\n").filter((each) =>
        / (list|-S)\b/.test(each) && !/ list chain inet openme knock$| -v -S$/.test(each)
      );
    for (const program of ["nft", "iptables-nft", "ip6tables-nft"]) {
      const real = (await lab.run("server", ["sh", "-c", `command -v ${program}`])).trim();
      const script = `#!/bin/sh\necho "$0 $*" >> ${ran}\nexec ${real} "$@"\n`;
      await Deno.writeTextFile(`${folder}/${program}`, script, { mode: 0o755 });
    }
    await forgetRuns();
    const env = { PATH: `${folder}:${Deno.env.get("PATH")}` };
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] }, firewall, env });
    await using served = await site.serve();

    await t.step("lists nothing until somebody has changed something", async () => {
      await pause(2 * CHECK_INTERVAL_MS);
      assert.ok((await listings()).length > 0);
      await forgetRuns();
      await pause(2.5 * CHECK_INTERVAL_MS);
      assert.deepEqual(await listings(), []);
    });

    await t.step("lists nothing after a knock", async () => {
      await lab.agent("client").then(async (client) =>
        client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT)
      );
      await served.waitForLine(/event=granted/);
      await pause(2.5 * CHECK_INTERVAL_MS);
      assert.deepEqual(await listings(), []);
    });

    await t.step("sees a firewall that comes, and the guard taken away", async () => {
      await lab.nft(
        "table inet late { chain input { type filter hook input priority 5; policy drop; }; }",
      );
      await waitFor("the hole", async () => /chain input \{[^}]*openme/.test(await lab.ruleset()), {
        timeoutMs: REPAIRED_MS,
      });
      await lab.nft("flush ruleset");
      const own = firewall === "nft" ? "table inet openme" : "chain OPENME ";
      await waitFor("the guard", async () => (await lab.ruleset()).includes(own), {
        timeoutMs: REPAIRED_MS,
      });
    });
    await served.stop();
    await Deno.remove(folder, { recursive: true });
  });
}
