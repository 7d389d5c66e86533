/** A knock is good once, for the address that it means, and for nobody who carries it off. */

import assert from "node:assert/strict";
import { Capture } from "./capture.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6 } from "./lab.ts";
import { startParties } from "./parties.ts";
import { knock } from "./openme.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { waitFor } from "../support/wait.ts";

const DEBUG = ["--log-level", "debug"];

/** Not addresses, not addresses that a client can have, or addresses with something about them. */
const WRONG_ADDRESSES = [
  "",
  "garbage",
  "0.0.0.0",
  "::",
  "::ffff:0.0.0.0",
  "127.0.0.1",
  "::1",
  "10.0.0.3/24",
  "10.0.0.3 ",
  "10.0.0.3\n",
  "010.0.0.3",
];

e2e("a knock", async (lab, t) => {
  const { client, other, isOpen, isOpenToOther, isClosed } = await startParties(lab);

  await t.step("is not taken twice, from anywhere, nor after SIGTERM or SIGKILL", async () => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      knockTimeout: "2s",
    });
    /** Whether anything is open to the client, or to the other, by IPv4 or IPv6. */
    const openings = () =>
      Promise.all(
        [client, other].flatMap((side) =>
          [IPV4.server, IPV6.server].map((host) => side.reaches(host, 22))
        ),
      );
    let served = await site.serve(DEBUG);
    const knocks = [await site.seal("alice"), await site.seal("alice", { target: IPV6.client })];
    for (const knock of knocks) await client.send(knock, IPV4.server, KNOCK_PORT);
    await served.waitForLine(/granted client=alice address=10\.0\.0\.2 /);
    await served.waitForLine(/granted client=alice address=fd00::2 /);
    await waitFor("the port to open", async () => {
      const open = await openings();
      return open[0] && open[1] && !open[2] && !open[3];
    });
    await waitFor("the port to close", async () => !(await openings()).includes(true));
    const assertRefused = async (when: string) => {
      const seen = served.lines.length;
      for (const knock of knocks) {
        await client.send(knock, IPV4.server, KNOCK_PORT);
        await other.send(knock, IPV4.server, KNOCK_PORT);
        await other.send(knock, IPV6.server, KNOCK_PORT);
      }
      await waitFor(`${when}: six refusals`, () => {
        const refusals = served.lines.slice(seen).filter((line) => /reason=replay/.test(line));
        return refusals.length === 6 &&
          [IPV4.client, IPV4.other, IPV6.other].every((source) =>
            refusals.filter((line) => line.includes(`source=${source} `)).length === 2
          );
      });
      assert.ok(!(await openings()).includes(true), when);
      assert.ok(!served.lines.slice(seen).some((line) => /granted|renewed/.test(line)), when);
    };
    await assertRefused("at once");
    await served.stop();
    served = await site.serve(DEBUG);
    await assertRefused("after SIGTERM");
    await served.kill("SIGKILL");
    served = await site.serve(DEBUG);
    await assertRefused("after SIGKILL");

    await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
    await opens(client, IPV4.server, 22);
  });

  await t.step("that had just been taken is not taken again after SIGKILL", async () => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      knockTimeout: "2s",
    });
    const killed = await site.serve();
    const knock = await site.seal("alice", { target: IPV4.client });
    await client.send(knock, IPV4.server, KNOCK_PORT);
    await opens(client, IPV4.server, 22);
    await killed.kill("SIGKILL");
    await using served = await site.serve(DEBUG);
    await client.send(knock, IPV4.server, KNOCK_PORT);
    await served.waitForLine(/reason=replay source=10\.0\.0\.2/);
    await waitFor("the port to close", isClosed);
  });

  await t.step("with --ip opens to that address alone", async () => {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    await using served = await site.serve();
    await site.knock("alice", ["--ip", IPV4.other]);
    await served.waitForLine(/granted client=alice address=10\.0\.0\.3 source=10\.0\.0\.2 /);
    await opens(other, IPV4.server, 22);
    assert.equal(await isOpen(), false);
    await site.knock("alice", ["--ip", IPV6.client]);
    await served.waitForLine(/granted client=alice address=fd00::2 source=10\.0\.0\.2 /);
    await opens(client, IPV6.server, 22);
    assert.equal(await isOpen(), false);
  });

  await t.step(
    "with anything but an address in --ip is a wrong usage, and is not sent",
    async () => {
      await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
      const capture = await Capture.start(lab, KNOCK_PORT);
      const outputs = await Promise.all(
        WRONG_ADDRESSES.map((text) => site.tryKnock("alice", ["--ip", text])),
      );
      outputs.forEach(({ code, stderr }, i) => {
        assert.equal(code, 2, `${JSON.stringify(WRONG_ADDRESSES[i])}: ${stderr}`);
        assert.match(stderr, /^openme: error: .*--ip/);
      });
      assert.equal((await capture.stop()).toPort, 0);
    },
  );

  await t.step("without --ip opens to whoever it comes from, of each family", async () => {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    await using served = await site.serve();
    await site.knock("alice");
    await opens(client, IPV4.server, 22);
    assert.deepEqual(
      await Promise.all([client.reaches(IPV6.server, 22), isOpenToOther()]),
      [false, false],
    );
    await site.clientConfig("alice", IPV6.server);
    await site.knock("alice", [], "other");
    await served.waitForLine(/granted client=alice address=fd00::3 source=fd00::3 /);
    await opens(other, IPV6.server, 22);
    assert.equal(await isOpenToOther(), false);
  });

  await t.step("with -4 or -6 goes to that family alone", async () => {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    const config = await site.clientConfig("alice", "box.test");
    const hosts = `${site.dir}/hosts`;
    await Deno.writeTextFile(hosts, `${IPV4.server} box.test\n${IPV6.server} box.test\n`);
    await using served = await site.serve();
    for (const [flag, side] of [["-4", "client"], ["-6", "other"]] as const) {
      const { code, stderr } = await knock(lab, side, config, [flag], hosts);
      assert.equal(code, 0, stderr);
    }
    await served.waitForLine(/granted client=alice address=10\.0\.0\.2 /);
    await served.waitForLine(/granted client=alice address=fd00::3 /);
    assert.equal(served.lines.filter((line) => line.includes("granted")).length, 2);
  });
});
