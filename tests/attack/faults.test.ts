/** Faults under a running server: after each, no replay is accepted, nobody is forgotten, and the next good knock works. */

import assert from "node:assert/strict";
import { createLog } from "../../lib/log.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { StateStore } from "../../lib/state/store.ts";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4 } from "../e2e/lab.ts";
import { Site } from "../e2e/site.ts";
import { waitFor } from "../e2e/wait.ts";
import { flood, goodKnocks, letIn, taggedKnock } from "./siege.ts";

async function mount(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("mount", { args }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

e2e("a server in trouble", async (lab, t) => {
  const client = await lab.agent("client");
  const names = ["alice", "bob", "carol"];
  await using site = await Site.create(lab, {
    clients: Object.fromEntries(names.map((name) => [name, ["22/tcp"]])),
    knockTimeout: "1m",
  });
  let next = 0;
  const opens = async () => {
    const target = `192.0.2.${++next}`;
    const knock = await taggedKnock(site, "alice", target);
    await client.send(knock, IPV4.server, KNOCK_PORT);
    await waitFor(`${target} to be let in`, async () => (await letIn(lab)).has(target), {
      timeoutMs: 8000,
    });
    return knock;
  };

  await t.step("killed at any moment, ten times: grants go on, replays stay replays", async () => {
    const used: Uint8Array[] = [];
    const granted: string[] = [];
    for (let round = 0; round < 10; round++) {
      await using served = await site.serve(["--log-level", "debug"]);
      const now = await letIn(lab);
      for (const target of granted) {
        assert.ok(now.has(target), `${target} is gone in round ${round}`);
      }
      for (const knock of used.slice(-3)) {
        const seen = served.lines.length;
        await client.send(knock, IPV4.server, KNOCK_PORT);
        await served.waitForLine(/event=dropped reason=replay/, 5000, seen);
      }
      used.push(await opens());
      granted.push(`192.0.2.${next}`);
      // In the middle of others, wherever that may be.
      const others = await goodKnocks(site, names, { count: 20, from: round * 20, tagged: true });
      const flooding = flood(lab, site, { rate: 0, sources: 1, seconds: 0.2, good: others });
      await new Promise((resolve) => setTimeout(resolve, 50 + 20 * round));
      await served.kill("SIGKILL");
      await flooding;
    }
  });
  await t.step("its address going away and coming back", async () => {
    await using served = await site.serve();
    await opens();
    await lab.run("server", ["ip", "link", "set", "eth0", "down"]);
    await lab.run("server", ["ip", "address", "flush", "dev", "eth0"]);
    await lab.run("server", ["ip", "address", "add", `${IPV4.server}/24`, "dev", "eth0"]);
    await lab.run("server", ["ip", "link", "set", "eth0", "up"]);
    await opens();
    await served.stop();
  });
  await t.step(
    "a reload in the middle of a flood: nobody is forgotten, who is removed is out",
    async () => {
      await using served = await site.serve();
      await opens();
      const good = await goodKnocks(site, ["carol"], { count: 40, from: 1000, tagged: true });
      const flooding = flood(lab, site, { rate: 5000, sources: 1000, seconds: 3, good });
      const without = Object.fromEntries(["alice", "carol"].map((name) => [name, ["22/tcp"]]));
      await client.send(await taggedKnock(site, "bob", "192.0.2.250"), IPV4.server, KNOCK_PORT);
      await waitFor("bob to be let in", async () => (await letIn(lab)).has("192.0.2.250"));
      await site.configure({ clients: without });
      await served.waitForLine(/event=reloaded/, 8000);
      await waitFor("bob to be out", async () => !(await letIn(lab)).has("192.0.2.250"));
      await flooding;
      await waitFor(
        "nearly all of carol's",
        async () => [...await letIn(lab)].filter((each) => each.startsWith("172.16.")).length >= 36,
      );
      await opens();
      await served.stop();
    },
  );
}, { silentServer: false }); // a capture cannot keep up with the flood in it

e2e(
  "a state that cannot be written, nor its mark be taken away, is known to be incomplete after SIGKILL",
  async () => {
    const dir = await Deno.makeTempDir({ prefix: "openme-attack-" });
    await mount("-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", dir);
    const replayWindowNs = 60_000_000_000n;
    const nowNs = 1_790_000_000_000_000_000n;
    const clock = { now: () => ({ wallNs: nowNs, steadyMs: 1000 }), bootId: "this one" };
    const log = createLog({
      level: "error",
      format: "logfmt",
      now: () => new Date(),
      write: () => {},
    });
    const open = () => {
      const replay = new ReplayMemory();
      return { replay, ...StateStore.open({ dir, replay, replayWindowNs, clock, log }) };
    };
    const record = (i: number) => ({
      key: "alice's",
      randomNonce: Uint8Array.from({ length: 16 }, () => i),
      timestampNs: nowNs + BigInt(i),
      client: "alice",
      atMs: 0,
      source: "192.0.2.1",
      opened: undefined,
    });
    try {
      const { store } = open();
      store.recordKnock(record(1));
      await mount("--bind", "/dev/null", `${dir}/intact`); // as good as read-only: it cannot be removed
      await Deno.writeFile(`${dir}/ballast`, new Uint8Array(2 ** 20)).catch(() => {});
      for (let i = 2; i < 200 && store.isSound(); i++) store.recordKnock(record(i));
      assert.ok(!store.isSound(), "the disk took everything");
      // Killed here. The disk works again.
      await new Deno.Command("umount", { args: [`${dir}/intact`] }).output();
      await Deno.remove(`${dir}/ballast`);
      const { replay, store: again } = open();
      for (let i = 1; i < 200; i++) {
        const { key, randomNonce, timestampNs } = record(i);
        assert.equal(
          replay.checkAndRemember(key, randomNonce, timestampNs, { nowNs, replayWindowNs }),
          "replay",
        );
      }
      again.close();
      // That was for one start: the next one knows everything again, and its floor is the stored one.
      const { replay: third, store: last } = open();
      assert.equal(third.floorNs, nowNs + replayWindowNs);
      last.close();
    } finally {
      await new Deno.Command("umount", { args: ["-R", "-l", dir] }).output();
      await Deno.remove(dir);
    }
  },
  { silentServer: false },
);
