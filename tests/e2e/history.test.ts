/** What a running server writes down of knocks that it takes and refuses: who, from where, to which ports, and why not. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { pause, waitFor } from "./wait.ts";

const MINUTE_NS = 60_000_000_000n;

e2e("history of a running server", async (lab, t) => {
  const client = await lab.agent("client");
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: ["22/tcp"], carol: ["22/tcp"] },
    clientLines: { carol: ['expires: "2020-01-01"'] },
  });
  const nowNs = () => BigInt(Date.now()) * 1_000_000n;
  const send = (datagram: Uint8Array) => client.send(datagram, IPV4.server, KNOCK_PORT);
  const history = async (): Promise<Record<string, unknown>[]> => {
    const { code, stdout, stderr } = await openme(lab, "server", [
      "history",
      "--json",
      "--config",
      site.config,
    ]);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout).history;
  };

  let accepted: Uint8Array;
  let acceptedMs = 0;
  await t.step(
    "grants and refusals are told, a wrong clock at info, one a client and minute",
    async () => {
      await using served = await site.serve();
      accepted = await site.seal("alice");
      acceptedMs = Date.now();
      await send(accepted);
      await send(accepted); // a replay
      for (let i = 0; i < 3; i++) {
        await send(await site.seal("alice", { timestampNs: nowNs() - 5n * MINUTE_NS }));
        await send(await site.seal("bob", { timestampNs: nowNs() + 90n * MINUTE_NS }));
        await send(await site.seal("carol"));
        await send(await site.seal("bob", { target: "127.0.0.1" }));
        await send(await site.sealAsStranger());
      }
      await send(await site.seal("bob"));
      await served.waitForLine(/event=granted client=bob/);
      const lines = served.lines.filter((line) => line.includes("event=clock_off"));
      assert.equal(lines.length, 2, lines.join("\n"));
      assert.match(
        lines[0]!,
        /level=info event=clock_off client=alice source=10\.0\.0\.2 offset="5m[01]s behind" hint=/,
      );
      assert.match(lines[1]!, / client=bob source=10\.0\.0\.2 offset="1h(30m0|29m59)s ahead" /);
      const entries = await waitFor("the history", async () => {
        const found = await history();
        return found.length >= 6 ? found : undefined;
      });
      const told = entries.map(({ client, event, reason }) => `${client} ${reason ?? event}`);
      assert.deepEqual(told.sort(), [
        "alice granted",
        "alice stale",
        "bob granted",
        "bob stale",
        "bob target",
        "carol expired",
      ]);
      await served.stop();
    },
  );

  await t.step(
    "a database of the version before is taken over; an old capture is no wrong clock",
    async () => {
      const database = new DatabaseSync(`${site.stateDir}/state.db`);
      database.exec("DROP TABLE refusals; PRAGMA user_version = 1");
      database.close();
      await site.configure({ server: ["replay_window: 1s"] });
      await using served = await site.serve();
      // Its time is over, its nonce is still known.
      await pause(acceptedMs + 1500 - Date.now());
      await send(accepted);
      await send(await site.seal("bob", { timestampNs: nowNs() - 5n * MINUTE_NS }));
      const line = await served.waitForLine(/event=clock_off/);
      assert.match(line, / client=bob /);
      const last = await waitFor("the history", async () => {
        const found = (await history()).at(-1);
        return found?.["reason"] === "stale" ? found : undefined;
      });
      assert.equal(last["client"], "bob");
      await served.stop();
    },
  );
});
