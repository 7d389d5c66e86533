/** The kernel tells knocks of openme's own client from all other datagrams, by the stamp in them. */

import assert from "node:assert/strict";
import { parseKnockCounters } from "../../lib/firewall/nft/rules.ts";
import { waitFor } from "../support/wait.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6 } from "./lab.ts";
import { openme } from "./openme.ts";
import { startParties } from "./parties.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { LINE_MS } from "../support/spawned.ts";

e2e("stamps", async (lab, t) => {
  const { client, isClosed } = await startParties(lab);
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    server: ["only_stamped_knocks: true"],
  });
  await using served = await site.serve(["--log-level", "debug"]);
  const unstamped = async () => {
    const listing = await lab.run("server", ["nft", "list", "chain", "inet", "openme", "knock"]);
    return parseKnockCounters(listing)["unstamped"];
  };
  const deployed = () => site.seal("alice");

  await t.step("with only_stamped_knocks openme's client gets in, over both families", async () => {
    for (const host of [IPV4.server, IPV6.server]) {
      await site.clientConfig("alice", host);
      await site.knock("alice");
      await opens(client, host, 22);
      await waitFor("the port to close", async () => !await client.reaches(host, 22));
    }
    assert.equal(await unstamped(), 0);
  });

  await t.step("and the kernel drops knocks of other programs, and counts them", async () => {
    for (const host of [IPV4.server, IPV6.server]) {
      await client.send(await deployed(), host, KNOCK_PORT);
    }
    await client.send(
      crypto.getRandomValues(new Uint8Array(165)).fill(1, 0, 1),
      IPV4.server,
      KNOCK_PORT,
    );
    await waitFor("the kernel to count them", async () => await unstamped() === 3);
    assert.ok(await isClosed());
    assert.ok(!served.lines.some((line) => / event=dropped /.test(line)));
  });

  await t.step("a stamp of another time is none", async () => {
    const timestampNs = BigInt(Date.now() - 600_000) * 1_000_000n;
    const before = await unstamped();
    const old = await site.seal("alice", { stamped: true, timestampNs });
    await client.send(old, IPV4.server, KNOCK_PORT);
    await waitFor("the kernel to count it", async () => await unstamped() === before! + 1);
  });

  await t.step("plan and doctor tell of it", async () => {
    const { stdout } = await openme(lab, "server", ["plan", "--json", "--config", site.config]);
    assert.equal(JSON.parse(stdout).unstamped_knocks, "dropped");
    const doctor = await openme(lab, "server", ["doctor", "--json", "--config", site.config]);
    const findings: { what: string; found: string }[] = JSON.parse(doctor.stdout).findings;
    const { found } = findings.find(({ what }) => what === "stamps")!;
    assert.match(found, /^the kernel drops those without the stamp of openme's own client/);
  });

  await t.step("a reload without it lets them in, at one rate for all senders", async () => {
    const from = served.lines.length;
    await site.configure({ server: [] });
    await served.waitForLine(/event=reloaded /, LINE_MS, from);
    await waitFor("the new rules", async () => {
      const rules = await lab.run("server", ["nft", "list", "chain", "inet", "openme", "knock"]);
      return /@stamps limit rate over 5000\/second burst 500 packets counter/.test(rules);
    });
    await client.send(await deployed(), IPV4.server, KNOCK_PORT);
    await opens(client, IPV4.server, 22);
    const { stdout } = await openme(lab, "server", ["plan", "--json", "--config", site.config]);
    assert.equal(JSON.parse(stdout).unstamped_knocks, "limited");
  });

  await t.step("stamps that somebody takes away come back with the next check", async () => {
    await lab.nft("delete table inet openme");
    await served.waitForLine(/event=rules_restored /, 12_000);
    const set = await lab.run("server", ["nft", "list", "set", "inet", "openme", "stamps"]);
    assert.ok(set.match(/timeout/g)!.length >= 10, set);
  });
  await served.stop();
});
