/** Faults under a running server: after each, no replay is accepted, nobody is forgotten, and the next good knock works. */

import assert from "node:assert/strict";
import { createLog } from "../../lib/system/log.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { StateStore } from "../../lib/state/store.ts";
import { runPath } from "../../lib/state/unwritten.ts";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4 } from "../e2e/lab.ts";
import type { Served } from "../e2e/openme.ts";
import { Site } from "../e2e/site.ts";
import { unless } from "../support/programs.ts";
import { waitFor } from "../support/wait.ts";
import { LetInWatch, type Stay } from "./watch_let_in.ts";
import { flood, goodKnocks, letIn, smallBuffer, taggedKnock } from "./siege.ts";
import { LINE_MS } from "../support/spawned.ts";

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

  await t.step(
    "killed at any moment, ten times: each knock lets in once, for its time",
    async () => {
      const lifetimeMs = 8000;
      await site.configure({ knockTimeout: `${lifetimeMs / 1000}s` });
      await using watch = new LetInWatch(lab);
      const sent = new Map<string, Uint8Array>();
      const granted: string[] = [];
      const gather = ({ lines }: Served, from = 0) => {
        for (const line of lines.slice(from)) {
          const match = /event=(?:granted|renewed) .*address=(\S+)/.exec(line);
          if (match) granted.push(match[1]!);
        }
      };
      /** Sends it again until the log says what became of it: of single drops it tells only so many a second. */
      const sendAgain = async (served: Served, knock: Uint8Array) => {
        for (let tries = 0; tries < 5; tries++) {
          const seen = served.lines.length;
          await client.send(knock, IPV4.server, KNOCK_PORT);
          const line = await served.waitForLine(/=granted |=renewed |reason=/, 1500, seen)
            .catch(() => undefined);
          if (line) return line;
        }
        assert.fail("the log says nothing");
      };
      for (let round = 0; round < 10; round++) {
        await using served = await site.serve(["--log-level", "debug"]);
        for (const [target, knock] of [...sent].slice(-16)) {
          const line = await sendAgain(served, knock);
          assert.match(
            line,
            granted.includes(target) ? /reason=replay/ : /=granted |reason=replay/,
          );
        }
        const knocks = await Promise.all(
          Array.from({ length: 10 }, async (_, i): Promise<[string, Uint8Array]> => {
            const target = `192.0.2.${++next}`;
            return [target, await taggedKnock(site, names[i % names.length]!, target)];
          }),
        );
        const before = served.lines.length;
        const sending = (async () => {
          for (const [target, knock] of knocks) {
            sent.set(target, knock);
            await client.send(knock, IPV4.server, KNOCK_PORT);
          }
        })();
        // While the first is in work, or the fifth, or the last.
        const last = knocks[round]![0];
        const about = await served.waitForLine(
          new RegExp(`=granted .*address=${last} `),
          LINE_MS,
          before,
        );
        assert.ok(about);
        await served.kill("SIGKILL");
        await sending;
        gather(served);
      }
      await using served = await site.serve(["--log-level", "debug"]);
      for (const knock of sent.values()) await sendAgain(served, knock);
      for (const knock of sent.values()) {
        assert.match(await sendAgain(served, knock), /reason=(replay|overload)/);
      }
      gather(served);
      assert.equal(new Set(granted).size, granted.length, "granted twice");
      await waitFor("all grants to end", () => watch.isEmpty, { timeoutMs: 2 * lifetimeMs });
      assert.deepEqual([...watch.stays.keys()].sort(), [...sent.keys()].sort());
      for (const [target, stays] of watch.stays) {
        assert.equal(stays.length, 1, `${target} was let in ${stays.length} times`);
        const [{ fromMs, toMs }] = stays as [Stay];
        const stayedMs = toMs - fromMs;
        assert.ok(stayedMs > lifetimeMs - 1500 && stayedMs < lifetimeMs + 1000, `${stayedMs} ms`);
      }
      await served.stop();
      await site.configure({ knockTimeout: "1m" });
    },
  );
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
  await t.step({
    ...unless(
      smallBuffer,
      "a reload in the middle of a flood: no client is forgotten, one that is removed is out",
    ),
    fn: async () => {
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
  });
}, { silentServer: false }); // a capture cannot keep up with the flood in it

e2e(
  "a state on a disk that takes no file, not even an empty one, is known to be incomplete after SIGKILL",
  async () => {
    const dir = await Deno.makeTempDir({ prefix: "openme-attack-" });
    await mount("-t", "tmpfs", "-o", "size=256k,nr_inodes=16,mode=0700", "tmpfs", dir);
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
      await Deno.mkdir(`${dir}/ballast`);
      await Deno.writeFile(`${dir}/ballast/0`, new Uint8Array(2 ** 20)).catch(() => {});
      for (let i = 1; i < 16; i++) {
        await Deno.writeFile(`${dir}/ballast/${i}`, new Uint8Array()).catch(() => {});
      }
      for (let i = 2; i < 200 && store.isSound(); i++) store.recordKnock(record(i));
      assert.ok(!store.isSound(), "the disk took everything");
      // Killed here. The disk works again.
      assert.ok(!Array.from(Deno.readDirSync(dir), ({ name }) => name).includes("unwritten"));
      assert.ok(await Deno.stat(runPath(dir, "unwritten")));
      await Deno.remove(`${dir}/ballast`, { recursive: true });
      const { replay, store: again } = open();
      for (let i = 1; i < 200; i++) {
        const { key, randomNonce, timestampNs } = record(i);
        assert.equal(
          replay.checkAndRemember(key, randomNonce, timestampNs, { nowNs, replayWindowNs }),
          "replay",
        );
      }
      await assert.rejects(Deno.stat(runPath(dir, "unwritten")), Deno.errors.NotFound);
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
