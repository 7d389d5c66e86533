/** Hosts on which something is missing, broken or in another place than usual. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { flushLegacy, rulesOf, serveWith, setFirewall } from "./host_rules.ts";
import { IPV4 } from "./lab.ts";
import { startParties } from "./parties.ts";
import { openme } from "./openme.ts";
import { HOST_RULES } from "./rules.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";

const ALICE = { clients: { alice: ["22/tcp"] }, knockTimeout: "1m" };

e2e("an odd host", async (lab, t) => {
  const { client, other, isOpen, knock } = await startParties(lab);

  await t.step("a mangle table for IPv4 alone: iptables-nft leaves none for IPv6", async () => {
    await using site = await Site.create(lab, ALICE);
    await setFirewall(site, "iptables-nft");
    const rule = ["-t", "mangle", "-A", "PREROUTING", "-s", "192.0.2.1", "-j", "ACCEPT"];
    await lab.run("server", ["iptables-nft", ...rule]);
    const before = await rulesOf(lab);
    await using served = await site.serve();
    await served.stop();
    assert.equal(await rulesOf(lab), before);
    assert.doesNotMatch(before, /table ip6/);
  });

  await t.step("an nft that the kernel gives nothing: iptables-legacy works", async () => {
    await using site = await Site.create(lab, ALICE);
    await setFirewall(site, "iptables-legacy");
    await using served = await serveWith(lab, site, {
      nft: "echo 'netlink: Error: cache initialization failed: Protocol not supported' >&2; exit 1",
    });
    await served.waitForLine(/event=listening/, 15_000);
    assert.equal(await isOpen(), false);
    await knock(site);
    await waitFor("the port to open", isOpen);
    await served.stop();
    assert.ok(await isOpen());
  });

  await t.step("a rule of its own that lets knocks in asks for new connections", async () => {
    await using site = await Site.create(lab, { ...ALICE, server: ["open_knock_port: false"] });
    const rule = `ct state new udp dport ${KNOCK_PORT} accept`;
    await lab.nft(HOST_RULES.replace("iif lo accept", `iif lo accept\n    ${rule}`));
    await using served = await site.serve();
    await knock(site);
    await waitFor("the port to open", isOpen);
    await served.stop();
  });

  await t.step("published ports behind a FORWARD chain of iptables-legacy", async () => {
    await other.listen({ tcp: [22] });
    await lab.run("server", ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
    const closed = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`;
    for (const firewall of ["nft", "iptables-nft"]) {
      await using site = await Site.create(lab, { ...ALICE, clients: { alice: ["8443/tcp"] } });
      await setFirewall(site, firewall);
      await lab.nft(PUBLISHED);
      const openUnguarded = async (): Promise<string[]> => {
        const args = ["plan", "--json", "--config", site.config];
        const { code, stdout, stderr } = await openme(lab, "server", args);
        assert.equal(code, 0, stderr);
        const shown = JSON.parse(stdout);
        return [...shown.ports_become_closed, ...shown.ports_open_unguarded];
      };
      assert.ok(await client.reaches(IPV4.server, 9443));
      const open = await openUnguarded();
      assert.ok(open.includes("8443/tcp") && open.includes("9443/tcp"), open.join());

      for (const program of ["iptables-legacy-restore", "ip6tables-legacy-restore"]) {
        await lab.run("server", [program], closed);
      }
      assert.equal(await client.reaches(IPV4.server, 9443), false);
      assert.equal((await openUnguarded()).filter((each) => /443/.test(each)).length, 0);
      const before = await rulesOf(lab);
      await using served = await site.serve();
      const isOpen = () => client.reaches(IPV4.server, 8443);
      assert.equal(await isOpen(), false);
      await knock(site);
      await waitFor("the published port to open", isOpen);
      await served.stop();
      assert.equal(await rulesOf(lab), before);
      await flushLegacy(lab);
    }
  });
});

/** Two ports of the third machine, as Docker publishes a container's. */
const PUBLISHED = `table ip docker {
  map ports { type inet_service : ipv4_addr . inet_service; elements = { 9443 : ${IPV4.other} . 22 }; }
  chain prerouting {
    type nat hook prerouting priority dstnat
    fib daddr type local tcp dport 8443 dnat to ${IPV4.other}:22
    fib daddr type local dnat ip addr . port to tcp dport map @ports
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip daddr ${IPV4.other} masquerade
  }
}`;
