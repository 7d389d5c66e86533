/** A server beside many rules of other people: what they have loaded must not slow openme down. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { waitFor } from "./wait.ts";

/** A blocklist of so many networks, in a table of its own. */
function blocklist(size: number): string {
  const networks = Array.from(
    { length: size },
    (_, i) => `${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.${(i * 7) % 250}`,
  );
  return `add table inet blocklist
add set inet blocklist addresses { type ipv4_addr; flags interval; }
add chain inet blocklist input { type filter hook input priority -10; }
add rule inet blocklist input ip saddr @addresses drop
flush set inet blocklist addresses
add element inet blocklist addresses { ${networks.join(", ")} }
`;
}

async function elapsedMs(act: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await act();
  return performance.now() - startedMs;
}

e2e("a knock beside a blocklist of 200,000 addresses", async (lab, t) => {
  const [server, client] = await Promise.all([lab.agent("server"), lab.agent("client")]);
  await server.listen({ tcp: [22] });
  await using site = await Site.create(lab, { clients: { alice: ["22/tcp", "8000-8010/tcp"] } });
  await using served = await site.serve();
  await lab.nft(blocklist(200_000));
  // nft reads the whole list for this, as it does for `add element` in openme's own sets.
  await lab.nft("add table inet other\nadd set inet other addresses { type ipv4_addr; }\n");
  const readingMs = await elapsedMs(() =>
    lab.nft("add element inet other addresses { 192.0.2.1 }\n")
  );

  const closes = () =>
    waitFor("the port to close", async () => !await client.reaches(IPV4.server, 22, 100));

  await t.step("opens without reading the list", async () => {
    for (let knock = 0; knock < 3; knock++) {
      const knockMs = await elapsedMs(async () => {
        await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
        await opens(client, IPV4.server, 22);
      });
      assert.ok(knockMs < readingMs / 3, `${knockMs} ms, reading the list ${readingMs} ms`);
      await closes();
    }
  });

  await t.step("opens while the list is replaced again and again", async () => {
    let replacing = true;
    const replaced = (async () => {
      while (replacing) await lab.nft(blocklist(20_000));
    })();
    try {
      const knockMs = await elapsedMs(async () => {
        await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
        await opens(client, IPV4.server, 22);
      });
      assert.ok(knockMs < readingMs / 2, `${knockMs} ms, reading the list ${readingMs} ms`);
    } finally {
      replacing = false;
      await replaced;
    }
  });
  await served.stop();
});
