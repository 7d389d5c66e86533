/**
 * One guard after another: a restart and a change of backend leave no gap and nothing behind, a reload freezes nobody,
 * and a start that fails leaves no ports closed.
 */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { GuardMonitor } from "./guard_monitor.ts";
import { flushLegacy, iptablesHost, rulesOf, serveWith, setFirewall } from "./host_rules.ts";
import { IPV4 } from "./lab.ts";
import { startParties } from "./parties.ts";
import { openme } from "./openme.ts";
import { HOST_RULES } from "./rules.ts";
import { Site } from "./site.ts";
import { waitFor, within } from "../support/wait.ts";

const ALICE = { clients: { alice: ["22/tcp"] }, knockTimeout: "1m" };

/** Which backend's guard each comes after. Events of iptables-legacy cannot be watched. */
const CHANGES = [
  ["nft", "iptables-nft"],
  ["iptables-nft", "nft"],
  ["iptables-legacy", "nft"],
  ["iptables-legacy", "iptables-nft"],
  ["nft", "iptables-legacy"],
  ["iptables-nft", "iptables-legacy"],
] as const;

e2e("one guard after another", async (lab, t) => {
  const { client, other, isOpen, knock } = await startParties(lab, { tcp: [22, 80] });
  const guard = async ({ config }: Site) => {
    const { code, stderr } = await openme(lab, "server", ["guard", "--config", config]);
    assert.equal(code, 0, stderr);
  };

  for (
    const [before, after] of [
      ["nft", "nft"],
      ["iptables-nft", "iptables-nft"],
      ["nft", "iptables-nft"],
      ["iptables-nft", "nft"],
    ] as const
  ) {
    await t.step(`leaves no gap: ${before}, then ${after}`, async () => {
      await using site = await Site.create(lab, { ...ALICE, server: ["on_stop: closed"] });
      await using monitor = await GuardMonitor.start(lab);
      await setFirewall(site, before);
      await guard(site);
      {
        await using served = await site.serve();
        await served.stop();
      }
      await setFirewall(site, after);
      await using served = await site.serve();
      await served.stop();
      const commits = await monitor.commits();
      // The guard, and each serve.
      assert.ok(commits.length >= 3, JSON.stringify(commits));
      assert.deepEqual(commits.filter(({ closed }) => !closed), []);
      const { code, stderr } = await openme(lab, "server", ["uninstall", "--config", site.config]);
      assert.equal(code, 0, stderr);
      assert.equal((await monitor.commits()).at(-1)!.closed, false, "the monitor sees it");
    });
  }

  for (const firewall of ["nft", "iptables-nft"]) {
    await t.step(
      `SIGUSR1 leaves no gap for the next serve, with on_stop: open: ${firewall}`,
      async () => {
        await using site = await Site.create(lab, ALICE);
        await using monitor = await GuardMonitor.start(lab);
        await setFirewall(site, firewall);
        await using served = await site.serve();
        await knock(site);
        await waitFor("the port to open", isOpen);
        const session = await client.hold(IPV4.server, 22);
        const { code } = await served.kill("SIGUSR1");
        assert.equal(code, 0, served.lines.join("\n"));
        await served.waitForLine(/event=stopped .*guard="left closed"/);
        assert.ok(await isOpen(), "the grant goes on");
        assert.equal(await other.reaches(IPV4.server, 22), false);
        await using next = await site.serve();
        assert.match(await next.waitForLine(/listening/), /grants=1/);
        assert.ok(await session.echoes());
        assert.deepEqual((await monitor.commits()).filter(({ closed }) => !closed), []);
        await session.close();
        await next.stop();
        assert.ok(await other.reaches(IPV4.server, 22), "a stop still opens");
      },
    );
  }

  for (const [before, after] of CHANGES) {
    await t.step(`clears what openme guard left: ${before}, then ${after}`, async () => {
      await using site = await Site.create(lab, ALICE);
      const rules = await rulesOf(lab);
      await setFirewall(site, before);
      await guard(site);
      await setFirewall(site, after);
      await using served = await site.serve();
      assert.equal(await isOpen(), false);
      await knock(site);
      await waitFor("the port to open", isOpen);
      assert.equal(await other.reaches(IPV4.server, 22), false);
      await served.stop();
      assert.equal(await rulesOf(lab), rules);
      assert.ok(await isOpen());
    });

    await t.step(`clears what a crash left, holes too: ${before}, then ${after}`, async () => {
      await using site = await Site.create(lab, ALICE);
      await iptablesHost(lab, "nft");
      await iptablesHost(lab, "legacy");
      await lab.nft(HOST_RULES);
      const rules = await rulesOf(lab);
      await setFirewall(site, before);
      await using first = await site.serve();
      await knock(site);
      await waitFor("the port to open", isOpen);
      // As long as it lives, nobody takes its guard away.
      await setFirewall(site, after);
      const refused = await openme(lab, "server", ["guard", "--config", site.config]);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /another openme serve, process \d+, guards this host/);
      assert.ok(await isOpen());

      await first.kill("SIGKILL");
      await using served = await site.serve();
      await waitFor("the grant to be there again", isOpen);
      assert.equal(await other.reaches(IPV4.server, 22), false);
      await served.stop();
      assert.equal(await rulesOf(lab), rules);
      await flushLegacy(lab);
    });
  }

  for (const firewall of ["nft", "iptables-nft"]) {
    await t.step(`a port that a reload guards keeps its sessions: ${firewall}`, async () => {
      await using site = await Site.create(lab, { clients: { alice: ["80/tcp"] } });
      await setFirewall(site, firewall);
      // Nothing but the socket tables knows of this one: connection tracking has been idle.
      const session = await client.hold(IPV4.server, 22);
      await using served = await site.serve();
      const text = await Deno.readTextFile(site.config);
      await Deno.writeTextFile(site.config, text.replace("[80/tcp]", "[80/tcp, 22/tcp]"));
      await waitFor("the port to be guarded", async () => !await isOpen());
      assert.ok(await session.echoes());
      await session.close();
      await served.stop();
    });
  }

  const failing = [
    {
      firewall: "iptables-nft",
      scripts: { "ip6tables-nft-restore": "echo 'not today' >&2; exit 3" },
    },
    {
      firewall: "iptables-legacy",
      scripts: { "ip6tables-legacy-restore": "echo 'not today' >&2; exit 3" },
    },
    {
      firewall: "nft",
      scripts: {
        nft: `case "$*" in *"list set inet openme guarded"*) echo 'not today' >&2; exit 1;; esac
exec /usr/sbin/nft "$@"`,
      },
    },
  ];
  for (const { firewall, scripts } of failing) {
    await t.step(`a start that fails half-way closes nothing: ${firewall}`, async () => {
      await using site = await Site.create(lab, ALICE);
      await setFirewall(site, firewall);
      const rules = await rulesOf(lab);
      await using served = await serveWith(lab, site, scripts);
      const status = await within(served.status, 15_000, undefined);
      assert.equal(status?.code, 1, served.lines.join("\n"));
      await served.waitForLine(/error: .*not today/);
      assert.ok(await isOpen());
      assert.equal(await rulesOf(lab), rules);
    });
  }

  await t.step("a start that fails keeps the guard that stood before", async () => {
    await using site = await Site.create(lab, ALICE);
    await guard(site);
    await using served = await serveWith(lab, site, failing[2]!.scripts);
    const status = await within(served.status, 15_000, undefined);
    assert.equal(status?.code, 1, served.lines.join("\n"));
    assert.equal(await isOpen(), false);
  });
});
