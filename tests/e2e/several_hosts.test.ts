/** A profile of several hosts: one that is dead, one that does not open, and one that does. */

import assert from "node:assert/strict";
import { OPENME } from "../support/openme_command.ts";
import { e2e } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { Site } from "./site.ts";
import { LINE_MS } from "../support/spawned.ts";

/** Nobody has this address. */
const DEAD = "10.0.0.99";

e2e("openme with a profile of several hosts", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "30s",
  });
  await using served = await site.serve();
  const { server } = await lab.agents("server", "other");
  await server.listen({ tcp: [22] });
  // A host that drops everything.
  await lab.run("other", [
    "sh",
    "-c",
    "nft 'table inet hole { chain input { type filter hook input priority 0; ip protocol { tcp, udp } drop; }; }'",
  ]);
  const config = await site.clientConfig("alice", "to be replaced");
  const profile = await Deno.readTextFile(config);
  const useHosts = (...hosts: string[]) =>
    Deno.writeTextFile(
      config,
      profile.replace('"to be replaced"', `[${hosts.map((each) => `"${each}"`).join(", ")}]`),
    );

  await t.step("--wait goes on to the next host until one opens, and says which", async () => {
    await useHosts(IPV4.other, IPV4.server);
    const { code, stdout, stderr } = await site.tryKnock("alice", [
      ...["--wait", "22/tcp", "--check", "--json"],
    ]);
    assert.equal(code, 0, stderr);
    const { host, sent, opened, checked } = JSON.parse(stdout);
    assert.equal(host, IPV4.server);
    assert.deepEqual(
      sent,
      [IPV4.other, IPV4.server].map((each) => (
        { host: each, address: each, failure: null }
      )),
    );
    assert.equal(opened.address, IPV4.server);
    assert.equal(checked.grants[0].client, "alice");
  });

  await t.step("--check alone goes on as well, past a host that is gone", async () => {
    await useHosts(DEAD, IPV4.server);
    const { code, stdout, stderr } = await site.tryKnock("alice", ["--check", "--json"]);
    assert.equal(code, 0, stderr);
    assert.equal(JSON.parse(stdout).host, IPV4.server);
  });

  await t.step("without a look every host gets a knock", async () => {
    const from = served.lines.length;
    await site.knock("alice");
    await served.waitForLine(/event=(granted|renewed) client=alice/, LINE_MS, from);
  });

  await t.step("connect dials the host that is asked for", async () => {
    const command = [...OPENME, "connect", "--client-config", config, "default"];
    for (const host of [IPV4.server, "default"]) {
      const { code, stdout, stderr } = await lab.output("client", [...command, host, "22"], "hi\n");
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "hi\n", stderr: "" });
    }
  });

  await t.step("--host that is not of the profile is wrong usage", async () => {
    const { code, stderr } = await site.tryKnock("alice", ["--host", "10.0.0.77"]);
    assert.equal(code, 2);
    assert.match(stderr, /--host: expected a host of default: 10\.0\.0\.99, 10\.0\.0\.1, got/);
  });

  await t.step("exit code 3 names the hosts that were knocked at", async () => {
    await useHosts(IPV4.server, IPV4.other);
    const wait = ["--wait", "80/tcp", "--timeout", "2500ms"];
    const { code, stderr } = await site.tryKnock("alice", wait);
    assert.equal(code, 3);
    assert.match(
      stderr,
      /^openme: error: port 80\/tcp of default \(2 hosts\) did not open within 2\.5s \(3 knocks at 10\.0\.0\.1, 10\.0\.0\.3; 10\.0\.0\.1: refused, 10\.0\.0\.3: no answer\)\n/,
    );
  });
});
