/** `server.mark`: the bit by which what was knocked for passes the host's own chains, and others who use it. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { openme } from "./openme.ts";
import { HOST_RULES } from "./rules.ts";
import { Site } from "./site.ts";

const BACKENDS = [
  {
    firewall: "nft",
    closeHost: (lab: Lab) => lab.nft(HOST_RULES),
    useBit: [
      "nft",
      "add chain inet filter other; add rule inet filter other meta mark set 0x20000000",
    ],
    chain: "inet filter other",
  },
  {
    firewall: "iptables-nft",
    closeHost: async (lab: Lab) => {
      const answers = "INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".split(" ");
      await lab.run("server", ["iptables-nft", "-A", ...answers]);
      await lab.run("server", ["iptables-nft", "-P", "INPUT", "DROP"]);
    },
    useBit: [
      ...["iptables-nft", "-t", "mangle", "-A", "OUTPUT", "-j", "MARK", "--set-xmark"],
      "0x20000000/0x20000000",
    ],
    chain: "ip mangle OUTPUT",
  },
] as const;

for (const { firewall, closeHost, useBit, chain } of BACKENDS) {
  e2e(
    `${firewall} lets in by the bit of server.mark, and leaves no hole for another`,
    async (lab, t) => {
      await using site = await Site.create(lab, {
        clients: { alice: ["22/tcp"] },
        dropPorts: false,
        knockTimeout: "30s",
      });
      const withMark = async (mark: string) => {
        await site.configure({ server: [`mark: ${mark}`] });
        const text = await Deno.readTextFile(site.config);
        await Deno.writeTextFile(
          site.config,
          text.replace("firewall: nft", `firewall: ${firewall}`),
        );
      };
      const rules = async () =>
        [await lab.ruleset(), await lab.run("server", ["iptables-nft-save"])].join("\n")
          .replaceAll(/^#.*\n|packets \d+ bytes \d+|\[\d+:\d+\]/gm, "");
      const { server, client } = await lab.agents("server", "client");
      await server.listen({ tcp: [22] });
      await closeHost(lab);

      await t.step("the hole is for that bit", async () => {
        await withMark("0x20000000");
        const served = await site.serve();
        assert.equal(await client.connect(IPV4.server, 22), "timeout");
        await site.knock("alice");
        await served.waitForLine(/event=granted/);
        assert.equal(await client.connect(IPV4.server, 22), "open");
        assert.match(await rules(), /0x20000000/);
        assert.doesNotMatch(await rules(), /0x40000000/);
        await served.kill("SIGKILL");
      });

      await t.step("a start with another bit takes out what a crash left", async () => {
        assert.match(await rules(), /0x20000000/);
        await withMark("0x40000000");
        const served = await site.serve();
        assert.match(await rules(), /0x40000000/);
        assert.doesNotMatch(await rules(), /0x20000000/);
        await site.knock("alice");
        await served.waitForLine(/event=(granted|renewed)/);
        assert.equal(await client.connect(IPV4.server, 22), "open");
        await served.kill("SIGKILL");
      });

      await t.step("uninstall takes it out, whichever bit is configured", async () => {
        await withMark("0x10000000");
        const { code, stderr } = await openme(lab, "server", [
          ...["uninstall", "--config", site.config],
        ]);
        assert.equal(code, 0, stderr);
        assert.doesNotMatch(await rules(), /openme|0x40000000/);
      });

      await t.step(
        "a bit that somebody else uses is refused before anything is touched",
        async () => {
          await lab.run("server", useBit);
          const before = await rules();
          await withMark("0x20000000");
          for (const command of ["serve", "plan"]) {
            const { code, stderr } = await openme(lab, "server", [
              command,
              "--config",
              site.config,
            ]);
            assert.equal(code, 1, stderr);
            assert.ok(
              stderr.includes(
                `openme: error: the host's chain ${chain} uses the bit 0x20000000 of the packet mark`,
              ),
              stderr,
            );
            assert.match(stderr, /openme: hint: .*server\.mark/);
          }
          assert.equal(await rules(), before);
          await withMark("0x8");
          const served = await site.serve();
          await served.stop();
        },
      );
    },
  );
}
