/**
 * What the guard covers: UDP by every way a datagram can arrive, ports that are published by destination NAT, and only
 * the interface it is meant for.
 */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { BROADCAST, IPV4, IPV6, type Lab, SECOND_IPV4 } from "./lab.ts";
import { HOST_FIREWALL, OWN_TABLE } from "./rules.ts";
import { Site, type SiteOptions } from "./site.ts";
import { opens } from "./timing.ts";
import { waitFor } from "../support/wait.ts";

const GROUPS = ["239.1.2.3", "ff05::123"];
/** Unicast, the subnet's broadcast address, everyone's, and multicast groups: a host's own and the one of all nodes. */
const EVERY_WAY = [
  IPV4.server,
  IPV6.server,
  BROADCAST,
  "255.255.255.255",
  ...GROUPS,
  "ff02::1%eth0",
];
const GUARDED = 5353;
const UNGUARDED = 5354;

/** What Docker does for `-p 8443:22 -p 8444:22`, the third machine being the container. */
const PUBLISHED = `table ip docker {
  chain prerouting {
    type nat hook prerouting priority dstnat
    fib daddr type local tcp dport { 8443, 8444 } dnat to ${IPV4.other}:22
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip daddr ${IPV4.other} masquerade
  }
}`;

const FTP = [
  Deno.execPath(),
  "run",
  "--allow-net",
  new URL("ftp_service.ts", import.meta.url).pathname,
];
/** Has connection tracking expect what an FTP service names. */
const FTP_HELPER = `table inet ftp {
  ct helper ftp { type "ftp" protocol tcp; }
  chain prerouting {
    type filter hook prerouting priority -160; policy accept
    tcp dport 21 ct helper set "ftp"
    tcp dport 22 ct state related counter comment "expected"
  }
}`;

/** A site whose server runs this firewall; iptables counts in whole seconds. */
async function createSite(lab: Lab, firewall: string, options: SiteOptions): Promise<Site> {
  const site = await Site.create(lab, {
    ...options,
    knockTimeout: firewall === "nft" ? "2s" : "4s",
  });
  const text = await Deno.readTextFile(site.config);
  await Deno.writeTextFile(site.config, text.replace("firewall: nft", `firewall: ${firewall}`));
  return site;
}

const FIREWALLS = ["nft", "iptables-nft", "iptables-legacy"];

for (const firewall of FIREWALLS) {
  e2e(`the guard of ${firewall}`, (lab, t) => guards(lab, t, firewall));
}

async function guards(lab: Lab, t: Deno.TestContext, firewall: string): Promise<void> {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await other.listen({ tcp: [22] });
  await server.listen({ tcp: [22], udp: [GUARDED, UNGUARDED], groups: GROUPS });
  /** By which of the ways the port answers this side. */
  const answering = async (side: typeof client, port: number) => {
    const answers = await Promise.all(EVERY_WAY.map((host) => side.echoesUdp(host, port, 600)));
    return EVERY_WAY.filter((_, i) => answers[i]);
  };

  for (const { title, dropPorts, hostRules } of [OWN_TABLE, HOST_FIREWALL]) {
    await t.step(`closes UDP on broadcast and multicast addresses too (${title})`, async () => {
      await using site = await createSite(lab, firewall, {
        clients: { alice: [`${GUARDED}/udp`] },
        dropPorts,
      });
      assert.deepEqual(await answering(client, GUARDED), EVERY_WAY, "without openme all answer");
      await lab.nft(hostRules);
      await using served = await site.serve();
      assert.deepEqual(await answering(client, GUARDED), []);
      if (dropPorts) assert.deepEqual(await answering(client, UNGUARDED), EVERY_WAY);

      await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
      await waitFor("UDP to open", () => client.echoesUdp(IPV4.server, GUARDED));
      assert.deepEqual(await answering(other, GUARDED), []);
      await waitFor("UDP to close", async () => !await client.echoesUdp(IPV4.server, GUARDED), {
        timeoutMs: 10_000,
      });
      assert.deepEqual(await answering(client, GUARDED), []);
      await served.stop();
    });
  }

  await t.step(
    "comes before destination NAT, as of a port that a container publishes",
    async () => {
      await using site = await createSite(lab, firewall, { clients: { alice: ["8443/tcp"] } });
      await lab.run("server", ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
      await lab.nft(PUBLISHED);
      const isOpen = () => client.reaches(IPV4.server, 8443);
      assert.ok(await isOpen(), "published to everyone without openme");
      await using served = await site.serve();
      assert.equal(await isOpen(), false);
      assert.ok(await client.reaches(IPV4.server, 8444), "what is not guarded stays open");
      await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
      await opens(client, IPV4.server, 8443);
      await waitFor("the published port to close", async () => !await isOpen(), {
        timeoutMs: 10_000,
      });
      await served.stop();
    },
  );

  await t.step("lets in nothing that another service's helper expects", async () => {
    await using site = await createSite(lab, firewall, { clients: { alice: ["22/tcp"] } });
    await lab.nft(FTP_HELPER);
    await using _ftp = lab.start("server", FTP);
    await using served = await site.serve();
    await waitFor("the FTP service", () => client.reaches(IPV4.server, 21));
    const session = lab.start("client", [...FTP, IPV4.server]);
    await session.stdout.waitFor(/^227 /, 10_000);
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
    assert.match(await lab.ruleset(), /ct state related counter packets [1-9]/);
    await session[Symbol.asyncDispose]();
    await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
    await opens(client, IPV4.server, 22);
    await served.stop();
    await lab.nft("delete table inet ftp");
  });

  await t.step("covers an address of another interface than the one it is reached by", async () => {
    await using site = await createSite(lab, firewall, { clients: { alice: ["22/tcp"] } });
    const reachable = () => other.reaches(SECOND_IPV4, 22);
    await lab.run("other", ["ip", "route", "add", SECOND_IPV4, "via", IPV4.server]);
    assert.ok(await reachable(), "without openme it is open");
    await using served = await site.serve();
    assert.equal(await reachable(), false);
    await served.stop();
  });

  await t.step("keeps to the interface of the configuration", async () => {
    await using site = await createSite(lab, firewall, {
      clients: { alice: ["22/tcp"] },
      server: ["interface: eth0"],
    });
    const reachable = () =>
      Promise.all([IPV4.server, SECOND_IPV4].map((host) => client.reaches(host, 22)));
    {
      await using served = await site.serve();
      assert.deepEqual(await reachable(), [false, true]);
      await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
      await opens(client, IPV4.server, 22);
      await served.stop();
    }
    await using _served = await site.serve(["--interface", "eth1"]); // goes before the configuration's
    assert.deepEqual(await reachable(), [true, false]);
  });
}
