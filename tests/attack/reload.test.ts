/** Changes of a large configuration beside a flood: the thread that reads the file is the one that receives. */

import assert from "node:assert/strict";
import { e2e } from "../e2e/e2e.ts";
import { Site } from "../e2e/site.ts";
import { pause } from "../../lib/system/clock.ts";
import { waitFor } from "../support/wait.ts";
import { countLetIn, flood, goodKnocks, smallBuffer } from "./siege.ts";

const CLIENTS = 1000;
const GOOD = 100;

e2e("reloads of 1,000 clients beside 50,000 datagrams a second lose no knock", async (lab) => {
  const names = Array.from({ length: CLIENTS }, (_, i) => `client${i}`);
  const clients = Object.fromEntries(names.map((name) => [name, ["22/tcp"]]));
  await using site = await Site.create(lab, { clients, knockTimeout: "5m" });
  await using served = await site.serve();
  const good = await goodKnocks(site, names.slice(0, 3), { count: GOOD, tagged: true });
  const over = new AbortController();
  const reloading = (async () => {
    for (let i = 0; !over.signal.aborted; i++) {
      const { [`client${CLIENTS - 1}`]: _, ...others } = clients;
      await site.configure({ clients: i % 2 === 0 ? others : clients });
      await pause(300, over.signal).catch(() => {});
    }
  })();
  const { junk, seconds } = await flood(lab, site, {
    ...{ rate: 50_000, sources: 10_000, seconds: 3, good },
  });
  over.abort();
  await reloading;
  assert.ok(junk > 25_000 * seconds, `only ${junk} in ${seconds} s`);
  await waitFor("all to be let in", async () => await countLetIn(lab, GOOD) === GOOD);
  const reloads = served.lines.filter((line) => line.includes("event=reloaded")).length;
  assert.ok(reloads >= 3, `${reloads} reloads`);
  await served.stop();
}, { silentServer: false, needs: smallBuffer }); // a capture cannot keep up
