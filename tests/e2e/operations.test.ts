/** What can happen to a server while it runs: a second one, a flushed ruleset, junk, signals. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6 } from "./lab.ts";
import { startParties } from "./parties.ts";
import type { Served } from "./openme.ts";
import { HOST_FIREWALL, OWN_TABLE, parseRuleset } from "./rules.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { waitFor, within } from "../support/wait.ts";

const DEBUG = ["--log-level", "debug"];
/** Within which a flushed ruleset must be back. */
const REPAIR_MS = 10_000;

e2e("a server", async (lab, t) => {
  const { server, client, other, isOpen, isOpenToOther, knock } = await startParties(lab);

  await t.step("is not harmed by a second one", async () => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      knockTimeout: "1m",
    });
    await using _first = await site.serve();
    await knock(site);
    await opens(client, IPV4.server, 22);
    const before = withoutCounters(await lab.ruleset());
    const elsewhere = `${site.dir}/elsewhere.yaml`;
    const yaml = await Deno.readTextFile(site.config);
    await Deno.writeTextFile(elsewhere, yaml.replace(`: ${KNOCK_PORT}`, ": 40000"), {
      mode: 0o600,
    });
    const seconds = [
      site.startServe(), // stopped by the lock
      site.startServe(["--state-dir", `${site.dir}/second`]), // by the socket
      site.startServe(["--state-dir", `${site.dir}/third`, "--config", elsewhere]), // by the guard that is there
    ];
    for (const second of seconds) {
      const status = await within(second.status, 10_000, undefined);
      assert.equal(status?.code, 1);
      await second.waitForLine(/^openme: error: /);
      assert.ok(!second.lines.some((line) => line.includes("listening")));
    }
    assert.equal(withoutCounters(await lab.ruleset()), before);
    assert.deepEqual(await Promise.all([isOpen(), isOpenToOther()]), [true, false]);
    await knock(site, other);
    await opens(other, IPV4.server, 22);
  });

  for (const { title, dropPorts, hostRules, holes } of [OWN_TABLE, HOST_FIREWALL]) {
    await t.step(`repairs a flushed ruleset, with all live grants (${title})`, async () => {
      await using site = await Site.create(lab, {
        clients: { alice: ["22/tcp"], bob: ["22/tcp"] },
        dropPorts,
        knockTimeout: "1m",
      });
      await lab.nft(hostRules);
      const foreign = parseRuleset(await lab.ruleset()).foreign;
      await using served = await site.serve();
      await knock(site);
      await opens(client, IPV4.server, 22);
      const connection = await client.hold(IPV4.server, 22);

      const flush = () => lab.nft(`flush ruleset\n${hostRules}`);
      const assertRepaired = async (timeoutMs: number) => {
        await waitFor("the guard to come back", async () => {
          const ruleset = parseRuleset(await lab.ruleset());
          return ruleset.hasTable && ruleset.holes.length === holes;
        }, { timeoutMs });
        assert.deepEqual(await Promise.all([isOpen(), isOpenToOther()]), [true, false]);
        assert.ok(await connection.echoes());
      };
      await flush();
      await assertRepaired(REPAIR_MS);

      if (dropPorts) { // otherwise the host's own firewall keeps knocks out until then
        // It has just looked; so it is the knock that makes it look again.
        await flush();
        await client.send(await site.seal("bob", { target: "10.0.0.77" }), IPV4.server, KNOCK_PORT);
        await assertRepaired(2000);
        await served.waitForLine(/granted client=bob address=10\.0\.0\.77 /);
      }
      await connection.close();
      await served.stop();
      assert.equal((await lab.ruleset()).trimEnd(), foreign.trimEnd());
    });
  }

  await t.step("warns where drop_ports: false leaves ports open", async () => {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] }, dropPorts: false });
    for (const [rules, warns] of [["", true], [HOST_FIREWALL.hostRules, false]] as const) {
      await lab.nft(rules);
      await using served = await site.serve();
      assert.equal(served.lines.some((line) => /level=warn .*open/.test(line)), warns);
      assert.equal(await isOpenToOther(), warns);
      await served.stop();
    }
  });

  await t.step("drops junk without a word, and says why at debug", async () => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"], carol: ["22/tcp"] },
      clientLines: { carol: ['expires: "2020-01-01"'] },
    });
    const junk = crypto.getRandomValues(new Uint8Array(165));
    junk[0] = 1;
    const minuteNs = 60_000_000_000n;
    const nowNs = BigInt(Date.now()) * 1_000_000n;
    const lowOrder = await site.seal("alice");
    lowOrder.fill(0, 1, 33);
    const expected: [reason: string, datagram: Uint8Array][] = [
      ["decrypt", junk],
      ["signature", await site.sealAsStranger()],
      ["key_agreement", lowOrder],
      ["expired", await site.seal("carol")],
      ["stale", await site.seal("alice", { timestampNs: nowNs - 5n * minuteNs })],
      ["stale", await site.seal("alice", { timestampNs: nowNs + 5n * minuteNs })],
      ["target", await site.seal("alice", { target: "224.0.0.1" })],
    ];
    // The kernel drops these before the daemon sees them, except on the loopback interface.
    const wrongShapes: [reason: string, datagram: Uint8Array][] = [
      ["size", new Uint8Array(0)],
      ["size", junk.subarray(0, 164)],
      ["size", Uint8Array.of(...junk, 0)],
      ["size", new Uint8Array(1400).fill(1)],
      ["version", Uint8Array.of(2, ...junk.subarray(1))],
    ];
    const sendAll = async () => {
      for (const [, datagram] of [...wrongShapes, ...expected]) {
        await client.send(datagram, IPV4.server, KNOCK_PORT);
        await client.send(datagram, IPV6.server, KNOCK_PORT);
      }
      for (const [, datagram] of wrongShapes) await server.send(datagram, "127.0.0.1", KNOCK_PORT);
      await knock(site); // what came before it has been judged when it is granted
    };

    {
      await using served = await site.serve(DEBUG);
      await sendAll();
      await served.waitForLine(/granted/);
      const drops = dropsOf(served);
      assert.deepEqual(
        drops.filter(({ source }) => source === IPV4.client).map(({ reason }) => reason),
        expected.map(([reason]) => reason),
      );
      assert.deepEqual(
        drops.filter(({ source }) => source === IPV6.client).map(({ reason }) => reason),
        expected.map(([reason]) => reason),
      );
      assert.deepEqual(
        drops.filter(({ source }) => source === "127.0.0.1").map(({ reason }) => reason),
        wrongShapes.map(([reason]) => reason),
      );
      await served.stop();
    }
    await using served = await site.serve();
    await sendAll();
    await served.waitForLine(/granted|renewed/);
    assert.deepEqual(dropsOf(served), []);
  });

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    await t.step(`takes its table out and exits with 0 on ${signal}`, async () => {
      await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
      await using served = await site.serve();
      assert.equal(await isOpen(), false);
      const { code } = await served.kill(signal);
      assert.equal(code, 0);
      assert.equal(await lab.ruleset(), "");
      assert.equal(await isOpen(), true);
    });
  }
});

function dropsOf({ lines }: Served): { reason: string; source: string }[] {
  return lines.flatMap((line) => {
    const match = /reason=(\S+) source=(\S+)/.exec(line);
    return match?.[1] && match[2] ? [{ reason: match[1], source: match[2] }] : [];
  });
}

/** A ruleset without what changes while packets pass and time goes by. */
function withoutCounters(ruleset: string): string {
  return ruleset.replace(/counter packets \d+ bytes \d+/g, "counter")
    .replace(/ expires \w+/g, "")
    .replace(/set knockers[46] \{[^}]*\{[^}]*\}\s*\}/g, "");
}
