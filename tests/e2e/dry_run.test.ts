/** `openme serve --dry-run` behind a host's own rules, into which it puts no hole. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { flushLegacy, iptablesHost, setFirewall } from "./host_rules.ts";
import { IPV4 } from "./lab.ts";
import { openme } from "./openme.ts";
import { HOST_RULES } from "./rules.ts";
import { Site } from "./site.ts";

const ALICE = { clients: { alice: ["22/tcp"] } };

e2e("a dry run", async (lab, t) => {
  const hosts = [
    { title: "nft", chain: "inet filter input", load: () => lab.nft(HOST_RULES) },
    { title: "iptables-nft", chain: "ip filter INPUT", load: () => iptablesHost(lab, "nft") },
    { title: "iptables-legacy", chain: "ip filter INPUT", load: () => iptablesHost(lab, "legacy") },
  ];
  for (const { title, chain, load } of hosts) {
    await t.step(`says which chain of the host's drops knocks: ${title}`, async () => {
      await using site = await Site.create(lab, ALICE);
      await setFirewall(site, title);
      await load();
      {
        await using served = await site.serve(["--dry-run"]);
        const line = await served.waitForLine(/level=warn event=knocks_dropped/);
        assert.ok(line.includes(`chain="${chain}"`), line);
        await served.stop();
      }
      {
        await using served = await site.serve();
        await served.stop();
        assert.doesNotMatch(served.lines.join("\n"), /knocks_dropped/, "it puts its hole there");
      }
      const guarded = await openme(lab, "server", ["guard", "--config", site.config]);
      assert.equal(guarded.code, 0, guarded.stderr);
      await using served = await site.serve(["--dry-run"]);
      await served.stop();
      assert.doesNotMatch(served.lines.join("\n"), /knocks_dropped/, "a hole is there already");
      const removed = await openme(lab, "server", ["uninstall", "--config", site.config]);
      assert.equal(removed.code, 0, removed.stderr);
      await flushLegacy(lab);
    });
  }

  await t.step("says so with firewall: none as well", async () => {
    await using site = await Site.create(lab, { ...ALICE, dropPorts: false, firewall: "none" });
    await lab.nft(HOST_RULES);
    await using served = await site.serve(["--dry-run"]);
    await served.waitForLine(/level=warn event=knocks_dropped chain="inet filter input"/);
    await served.stop();
  });

  await t.step("is one in every line of its log, and claims no guard", async () => {
    await using site = await Site.create(lab, ALICE);
    const client = await lab.agent("client");
    await using served = await site.serve(["--dry-run"]);
    await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
    await served.waitForLine(/event=granted .*dry_run=true/);
    await served.stop();
    for (const line of served.lines) assert.match(line, / dry_run=true/);
    const log = served.lines.join("\n");
    assert.match(log, /level=warn event=dry_run backend=nft doing="touching no firewall: .* opens/);
    assert.match(log, /event=listening .* ports=22\/tcp,54154\/tcp /);
    assert.match(log, /event=stopped .*guard=none/);
    assert.doesNotMatch(log, /guarded=/);
  });

  await t.step("says nothing where a rule of the host's lets knocks in", async () => {
    await using site = await Site.create(lab, ALICE);
    await lab.nft(HOST_RULES.replace("iif lo", `udp dport ${KNOCK_PORT} accept\n    iif lo`));
    await using served = await site.serve(["--dry-run"]);
    await served.stop();
    assert.doesNotMatch(served.lines.join("\n"), /knocks_dropped/);
  });
}, { silentServer: false });

e2e("firewall: none", async (lab, t) => {
  await using site = await Site.create(lab, { ...ALICE, firewall: "none", dropPorts: true });
  const warning =
    /level=warn event=ports_open_to_everyone ports=22\/tcp,54154\/tcp .*none closes nothing/;

  await t.step("warns that the ports are open, and claims no guard", async () => {
    await using served = await site.serve();
    await served.waitForLine(warning);
    await served.stop();
    const log = served.lines.join("\n");
    assert.doesNotMatch(log, /guarded=/);
    assert.match(log, /event=listening .*backend=none drop_ports=true ports=22\/tcp,54154\/tcp/);
  });

  await t.step("does not warn of what the host itself closes", async () => {
    await lab.nft(HOST_RULES);
    await using served = await site.serve();
    await served.stop();
    assert.doesNotMatch(served.lines.join("\n"), /ports_open_to_everyone|guarded=/);
  });
}, { silentServer: false });
