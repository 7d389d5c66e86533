/** The long-lived `nft -i`: quick, replaced when it dies, hangs or grows old, and never at the price of a grant. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4 } from "../e2e/lab.ts";
import { Site } from "../e2e/site.ts";
import { waitFor } from "../support/wait.ts";
import { signalNft } from "../e2e/signal_nft.ts";
import { countLetIn, flood, goodKnocks, letIn, taggedKnock } from "./siege.ts";

e2e("NftSession", async (lab) => {
  const script = fileURLToPath(new URL("./session_driver.ts", import.meta.url));
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  const output = await lab.run("server", [
    Deno.execPath(),
    "run",
    "-A",
    "--config",
    config,
    script,
    "2100",
  ]);
  const { refusal, tooLong, together } = JSON.parse(output);
  assert.match(refusal, /nft -i refused a change: .*No such file or directory/);
  assert.equal(tooLong, false);
  assert.deepEqual(together, [true, false], "nobody waits behind another's batch");
  // 4,200 lines are three processes' worth; what was refused left nothing behind.
  const set = await lab.run("server", ["nft", "list", "set", "inet", "t", "s"]);
  assert.deepEqual(set.match(/192\.0\.2\.\d/g), ["192.0.2.3"]);
  assert.equal(await signalNft(lab, "KILL"), 0, "a process was left behind");
}, { silentServer: false });

e2e("a server's nft -i", async (lab, t) => {
  const names = ["alice", ...Array.from({ length: 100 }, (_, i) => `client${i}`)];
  await using site = await Site.create(lab, {
    clients: Object.fromEntries(names.map((name) => [name, ["22/tcp"]])),
    knockTimeout: "1m",
  });
  await using served = await site.serve();
  const client = await lab.agent("client");
  const open = async (target: string) => {
    await client.send(await taggedKnock(site, "alice", target), IPV4.server, KNOCK_PORT);
    await waitFor(`${target} to be let in`, async () => (await letIn(lab)).has(target), {
      timeoutMs: 8000,
    });
  };

  const history = () =>
    Deno.stat(`${Deno.env.get("HOME") ?? "/root"}/.nft.history`).then(
      ({ mtime }) => mtime,
      () => null,
    );
  const historyBefore = await history();
  await t.step("takes knocks from the first one on", () => open("192.0.2.1"));
  await t.step("is replaced after it was killed, without an error", async () => {
    assert.equal(await signalNft(lab, "KILL"), 1);
    await open("192.0.2.2");
    assert.deepEqual(served.lines.filter((line) => /level=(warn|error)/.test(line)), []);
  });
  await t.step("is replaced when it hangs, and nothing that was granted is lost", async () => {
    assert.equal(await signalNft(lab, "STOP"), 1);
    await open("192.0.2.3");
    await served.waitForLine(/event=change_failed .*nft -i did not finish/);
    await open("192.0.2.4");
    const now = await letIn(lab);
    for (let i = 1; i <= 4; i++) assert.ok(now.has(`192.0.2.${i}`), `192.0.2.${i}`);
  });
  await t.step("writes no history of whom it let in", async () => {
    assert.deepEqual(await history(), historyBefore);
  });
  await t.step("opens for 100 different clients that knock at once", async (t) => {
    const good = await goodKnocks(site, names.slice(1), { count: 100, tagged: true });
    // All within 40 ms: a tenth of the time passes first, and eight tenths hold all of them.
    const sending = flood(lab, site, { rate: 0, sources: 1, seconds: 0.05, good });
    const { good: sent } = await sending;
    const start = performance.now();
    assert.equal(sent, 100);
    await waitFor("100 addresses to be let in", async () => await countLetIn(lab, 100) === 100, {
      everyMs: 10,
    }).catch((error) => assert.fail(`${error}\n${served.lines.slice(-130).join("\n")}`));
    // The sender's own end and a look at the set are in it: how quick it is, `deno task bench` measures.
    const ms = performance.now() - start;
    await t.step(`the last one ${ms.toFixed(0)} ms after all had been sent`, () => {});
    const sessions = await site.sessions() as { grants: { client: string }[] };
    const clients = new Set(sessions.grants.map(({ client }) => client));
    for (const name of names.slice(1)) assert.ok(clients.has(name), name);
  });
  await served.stop();
  assert.equal(await signalNft(lab, "KILL"), 0, "an nft was left behind");
});
