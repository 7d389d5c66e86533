/** Both families on both sides: a server whose IPv6 sockets take no IPv4, and a client whose server has many addresses. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { IPV4, IPV6, SECOND_IPV4 } from "./lab.ts";
import { knock } from "./openme.ts";
import { Site } from "./site.ts";

e2e("with net.ipv6.bindv6only=1 knocks and health answers come over IPv4 and IPv6", async (lab) => {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] }); // before: the service itself is not what is tested
  await lab.run("server", ["sh", "-c", "echo 1 >/proc/sys/net/ipv6/bindv6only"]);
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "30s",
  });
  await using served = await site.serve();
  for (const hosts of [IPV4, IPV6]) {
    assert.equal(await client.connect(hosts.server, 22), "timeout");
    await site.clientConfig("alice", hosts.server);
    await site.knock("alice", ["--check"]); // asks the health port, over the same family
    await served.waitForLine(new RegExp(`event=granted client=alice address=${hosts.client} `));
    assert.equal(await client.connect(hosts.server, 22), "open");
  }
});

e2e(
  "knock sends a fresh knock to every address of its server, several of one family too",
  async (lab) => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      knockTimeout: "30s",
    });
    const second = { server: "fd01::1", client: "fd01::2" };
    for (const side of ["server", "client"] as const) {
      const address = `${second[side]}/64`;
      await lab.run(side, ["ip", "address", "add", address, "dev", "eth1", "nodad"]);
    }
    const addresses = [IPV4.server, SECOND_IPV4, IPV6.server, second.server];
    const rules = addresses.map((each) =>
      `${
        each.includes(":") ? "ip6" : "ip"
      } daddr ${each} udp dport 54154 counter comment "${each}";`
    );
    await lab.nft(`table inet count { chain c {
    type filter hook prerouting priority -400; ${rules.join(" ")} }
  }`);
    await using served = await site.serve();
    const hosts = `${site.dir}/hosts`;
    await Deno.writeTextFile(hosts, addresses.map((each) => `${each} box.test\n`).join(""));
    const config = await site.clientConfig("alice", "box.test");
    const { code, stderr } = await knock(lab, "client", config, [], hosts);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    // Each comes from another address of this client, and is taken: no two are the same knock.
    for (const source of [IPV4.client, "10.0.1.2", IPV6.client, second.client]) {
      await served.waitForLine(new RegExp(`event=granted client=alice address=${source} `));
    }
    const listing = await lab.run("server", ["nft", "list", "chain", "inet", "count", "c"]);
    const counts = addresses.map((each) =>
      Number(new RegExp(`counter packets (\\d+) bytes \\d+ comment "${each}"`).exec(listing)?.[1])
    );
    assert.deepEqual(counts, [1, 1, 1, 1], "one knock to each");
  },
);
