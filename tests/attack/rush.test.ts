/** Many knocks at once: all are in within a moment, whatever nft itself takes. */

import assert from "node:assert/strict";
import { e2e } from "../e2e/e2e.ts";
import { Site } from "../e2e/site.ts";
import { waitFor } from "../support/wait.ts";
import { countLetIn, flood, goodKnocks } from "./siege.ts";

e2e("a server's sets", async (lab, t) => {
  const names = ["alice", ...Array.from({ length: 100 }, (_, i) => `client${i}`)];
  await using site = await Site.create(lab, {
    clients: Object.fromEntries(names.map((name) => [name, ["22/tcp"]])),
    knockTimeout: "1m",
  });
  await using served = await site.serve();
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
});
