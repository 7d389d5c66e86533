/** The harness on its own, without openme: that what the other tests see closed is seen open without a guard. */

import assert from "node:assert/strict";
import { Capture } from "./capture.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { BROADCAST, IPV4, IPV6, SECOND_IPV4 } from "./lab.ts";

const GROUPS = ["239.1.2.3", "ff05::123"];
const EVERY_WAY = [IPV4.server, IPV6.server, SECOND_IPV4, BROADCAST, "255.255.255.255", ...GROUPS];

/** What a guard that knows nothing of running connections would be. */
const BARE_GUARD = `table inet bare {
  chain guard {
    type filter hook prerouting priority -110; policy accept
    ct state established,related accept
    meta l4proto { tcp, udp } th dport { 22, 5353 } drop
  }
}`;

e2e("the harness", async (lab, t) => {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22], udp: [5353, KNOCK_PORT], groups: GROUPS });

  await t.step("without a guard everything is reachable", async () => {
    for (const host of [IPV4.server, IPV6.server]) {
      assert.equal(await client.connect(host, 22), "open");
      assert.equal(await other.connect(host, 22), "open");
      assert.equal(await client.connect(host, 23), "refused");
    }
    assert.equal(await client.connect(SECOND_IPV4, 22), "open");
    for (const host of EVERY_WAY) assert.ok(await client.echoesUdp(host, 5353), host);
  });

  await t.step("a bare guard freezes a running connection, and closes the rest", async () => {
    const running = await client.hold(IPV4.server, 22);
    assert.ok(await running.echoes());
    assert.equal(await lab.conntrackCount(), 0); // so nothing knows of the connection
    await lab.nft(BARE_GUARD);
    assert.equal(await running.echoes(500), false);
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
    await running.close();
    await lab.nft("flush ruleset");
    assert.equal(await client.connect(IPV4.server, 22), "open");
  });

  await t.step("the capture counts both directions", async () => {
    const capture = await Capture.start(lab, KNOCK_PORT);
    // Nobody waits for the first one's echo; those of the others come after it.
    await client.send(Uint8Array.of(1, 2, 3), IPV4.server, KNOCK_PORT, { port: 4711 });
    for (const host of [IPV4.server, IPV6.server]) {
      assert.ok(await client.echoesUdp(host, KNOCK_PORT));
    }
    assert.deepEqual(await capture.stop(), { toPort: 3, fromPort: 3, missed: 0 });
  });
}, { silentServer: false });
