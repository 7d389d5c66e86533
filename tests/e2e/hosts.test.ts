/**
 * Hosts that have rules of their own: a grant really lets the client in, the knock really arrives, and the rules of
 * others are the same bytes afterwards.
 */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { flushLegacy, rulesOf, serveWith, setFirewall } from "./host_rules.ts";
import { IPV4, IPV6, type Lab } from "./lab.ts";
import { startParties } from "./parties.ts";
import { HOST_RULES } from "./rules.ts";
import { Site, type SiteOptions } from "./site.ts";
import { waitFor, within } from "../support/wait.ts";

interface Host {
  readonly title: string;
  readonly prepare: (lab: Lab) => Promise<void>;
}

const LATER_DROPS = `table inet early {
  chain input {
    type filter hook input priority -10; policy accept
    tcp dport { 22, 80 } accept comment "final only for this chain"
  }
}
table inet late {
  chain input {
    type filter hook input priority 10; policy drop
    ct state established,related accept
    iif lo accept
    meta l4proto ipv6-icmp accept
  }
}`;

/** What `ufw enable` leaves, made smaller: everything in chains of its own, policies that drop. */
function ufwLike(family: "iptables" | "ip6tables"): string {
  const ufw = family === "iptables" ? "ufw" : "ufw6";
  return `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:${ufw}-before-input - [0:0]
:${ufw}-user-input - [0:0]
:${ufw}-after-input - [0:0]
:${ufw}-not-local - [0:0]
-A INPUT -j ${ufw}-before-input
-A INPUT -j ${ufw}-after-input
-A ${ufw}-before-input -i lo -j ACCEPT
-A ${ufw}-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ${ufw}-before-input -m conntrack --ctstate INVALID -j DROP
-A ${ufw}-before-input -p ${family === "iptables" ? "icmp" : "ipv6-icmp"} -j ACCEPT
-A ${ufw}-before-input -j ${ufw}-not-local
-A ${ufw}-before-input -j ${ufw}-user-input
-A ${ufw}-user-input -p tcp -m tcp --dport 443 -j ACCEPT
-A ${ufw}-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ${ufw}-not-local -j DROP
COMMIT
`;
}

const HOSTS: readonly Host[] = [
  { title: "policy drop in inet filter input", prepare: (lab) => lab.nft(HOST_RULES) },
  { title: "two base chains of which the later drops", prepare: (lab) => lab.nft(LATER_DROPS) },
  { title: "chains like ufw's, of iptables-nft", prepare: prepareUfw("nft") },
  { title: "chains like ufw's, of iptables-legacy", prepare: prepareUfw("legacy") },
];

function prepareUfw(kind: "nft" | "legacy") {
  return async (lab: Lab) => {
    for (const family of ["iptables", "ip6tables"] as const) {
      await lab.run("server", [`${family}-${kind}-restore`], ufwLike(family));
    }
  };
}

/** A site whose server runs another firewall than nft. */
async function createSite(lab: Lab, firewall: string, options: SiteOptions): Promise<Site> {
  const site = await Site.create(lab, options);
  await setFirewall(site, firewall);
  return site;
}

/** iptables ends a grant by whole seconds, up to one early: enough has to be left on a busy machine. */
function timeoutFor(firewall: string): string {
  return firewall === "nft" ? "2s" : "4s";
}

e2e("a host with rules of its own", async (lab, t) => {
  const { client, other, isOpen, isClosed, knock } = await startParties(lab);

  for (const { title, prepare } of HOSTS) {
    for (const firewall of ["nft", "iptables-nft", "iptables-legacy"]) {
      for (const dropPorts of [true, false]) {
        await t.step(`${title}: ${firewall}, drop_ports: ${dropPorts}`, async () => {
          await using site = await createSite(lab, firewall, {
            clients: { alice: ["22/tcp"] },
            dropPorts,
            knockTimeout: timeoutFor(firewall),
          });
          await prepare(lab);
          const before = await rulesOf(lab);
          await using served = await site.serve();
          assert.equal(await isOpen(), false);
          await knock(site);
          await waitFor("the port to open", isOpen);
          assert.equal(await other.reaches(IPV4.server, 22), false);
          await waitFor("the port to close", isClosed, { timeoutMs: 10_000 });
          await served.stop();
          assert.ok(
            !served.lines.some((line) => /rules_missing/.test(line)),
            "nothing was missing",
          );
          assert.equal(await rulesOf(lab), before);
          await flushLegacy(lab);
        });
      }
    }
  }

  for (const firewall of ["nft", "iptables-nft"]) {
    await t.step(
      `rules of iptables-legacy are an error where it takes no hole (${firewall})`,
      async () => {
        await using site = await createSite(lab, firewall, { clients: { alice: ["22/tcp"] } });
        await prepareUfw("legacy")(lab);
        const before = await rulesOf(lab);
        await using served = await serveWith(lab, site, {
          "iptables-legacy-restore": "echo 'not today' >&2; exit 4",
        });
        const status = await within(served.status, 15_000, undefined);
        assert.equal(status?.code, 1, served.lines.join("\n"));
        await served.waitForLine(
          /error: chain ip filter INPUT drops what openme lets in to 22\/tcp 54154\/tcp: its policy drop/,
        );
        await served.waitForLine(/hint: .* set firewall: iptables-legacy/);
        assert.equal(await rulesOf(lab), before);
        await flushLegacy(lab);
      },
    );
  }

  for (const firewall of ["nft", "iptables-nft"]) {
    await t.step(
      `rules in PREROUTING of iptables-legacy that drop are an error (${firewall})`,
      async () => {
        for (const table of ["raw", "mangle"]) {
          await using site = await createSite(lab, firewall, { clients: { alice: ["22/tcp"] } });
          const rule = ["-A", "PREROUTING", "-p", "tcp", "--dport", "22", "-j", "DROP"];
          await lab.run("server", ["iptables-legacy", "-t", table, ...rule]);
          const before = await rulesOf(lab);
          await using served = site.startServe();
          const status = await within(served.status, 15_000, undefined);
          assert.equal(status?.code, 1, served.lines.join("\n"));
          const error = await served.waitForLine(/^openme: error: /);
          assert.ok(error.includes(`chain ip ${table} PREROUTING drops what openme`), error);
          await served.waitForLine(/hint: no hole helps in PREROUTING/);
          assert.equal(await rulesOf(lab), before);
          await flushLegacy(lab);
        }
      },
    );
  }

  const legacyHosts = [
    { title: "rules of iptables-legacy", prepare: prepareUfw("legacy"), over: IPV4 },
    {
      title: "rules of ip6tables-legacy alone",
      prepare: async (lab: Lab) => {
        const rule = ["-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP"];
        await lab.run("server", ["ip6tables-legacy", ...rule]);
      },
      over: IPV6,
    },
    ...["mangle", "security"].map((table) => ({
      title: `a rule in ${table} INPUT of iptables-legacy`,
      prepare: async (lab: Lab) => {
        const rule = ["-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP"];
        await lab.run("server", ["iptables-legacy", "-t", table, ...rule]);
      },
      over: IPV4,
    })),
  ];
  for (const { title, prepare, over } of legacyHosts) {
    for (const firewall of ["auto", "nft"]) {
      await t.step(
        `${title} ${firewall === "auto" ? "are auto's reason" : "get a hole from nft"}`,
        async () => {
          await using site = await createSite(lab, firewall, {
            clients: { alice: ["22/tcp"] },
            knockTimeout: "1m",
          });
          await prepare(lab);
          const before = await rulesOf(lab);
          await using served = await site.serve();
          if (firewall === "auto") {
            await served.waitForLine(/firewall_chosen backend=iptables-legacy why=/);
          }
          const isOpen = () => client.reaches(over.server, 22);
          assert.equal(await isOpen(), false);
          await client.send(await site.seal("alice"), over.server, KNOCK_PORT);
          await waitFor("the port to open", isOpen);
          await served.stop();
          assert.equal(await rulesOf(lab), before);
          await flushLegacy(lab);
        },
      );
    }
  }

  await t.step("a hole in iptables-legacy that somebody takes out is put back", async () => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      knockTimeout: "1m",
    });
    await prepareUfw("legacy")(lab);
    await using served = await site.serve();
    await knock(site);
    await waitFor("the port to open", isOpen);
    await flushLegacy(lab);
    await prepareUfw("legacy")(lab);
    assert.equal(await isOpen(), false, "the hole is gone with the reload");
    await waitFor("the port to be open again", isOpen, { timeoutMs: 10_000 });
    await served.stop();
    await flushLegacy(lab);
  });

  for (const firewall of ["nft", "iptables-nft"]) {
    await t.step(
      `a reload of the host's rules is made up for within 10 s (${firewall})`,
      async () => {
        await using site = await createSite(lab, firewall, {
          clients: { alice: ["22/tcp"] },
          knockTimeout: "1m",
        });
        await lab.nft(HOST_RULES);
        await using served = await site.serve();
        await knock(site);
        await waitFor("the port to open", isOpen);
        await lab.nft(`flush ruleset\n${HOST_RULES}`);
        assert.equal(await isOpen(), false, "the hole is gone with the reload");
        await waitFor("the port to be open again", isOpen, { timeoutMs: 10_000 });
        assert.equal(await other.reaches(IPV4.server, 22), false);
        await served.stop();
      },
    );
  }

  await t.step("a firewall that comes up later gets its hole", async () => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      knockTimeout: "1m",
    });
    await using served = await site.serve();
    await lab.nft(HOST_RULES);
    const hasHole = async () => /accept comment "openme/.test(await lab.ruleset());
    await waitFor("the hole", hasHole, { timeoutMs: 10_000 });
    await knock(site);
    await waitFor("the port to open", isOpen);
    await served.stop();
  });

  const simple = `add chain inet TABLE input { type filter hook input priority 0; policy accept; }
add rule inet TABLE input tcp dport 22 counter reject`;
  const firewalld = `add chain inet TABLE zones
add chain inet TABLE input { type filter hook input priority 10; policy accept; }
add rule inet TABLE zones tcp dport 443 accept
add rule inet TABLE input ct state { established, related } accept
add rule inet TABLE input ct status dnat accept
add rule inet TABLE input iifname lo accept
add rule inet TABLE input jump zones
add rule inet TABLE input ct state invalid drop
add rule inet TABLE input counter reject with icmpx admin-prohibited`;
  /** What a program loads that keeps its table to itself: `flags owner` ends with the process. */
  const owned = (table: string, rules: string) =>
    `add table inet TABLE { flags owner; }\n${rules}`.replaceAll("TABLE", table)
      .replaceAll("\n", "; ");
  const refused = [
    ...["own", "firewalld", "tailscale"].map((table) => ({
      title: `a chain in a table that belongs to a program (flags owner): ${table}`,
      rules: owned(table, simple),
      error: new RegExp(
        `chain inet ${table} input drops what openme lets in to 22/tcp: ` +
          String.raw`its rule "tcp dport 22 counter .*reject`,
      ),
      hint: /flags owner/,
    })),
    {
      title: "chains like firewalld's",
      rules: owned("firewalld", firewalld),
      error:
        /chain inet firewalld input drops what openme lets in to 22\/tcp 54154\/tcp: its rule "counter .*reject with icmpx admin-prohibited/,
      hint: /flags owner/,
    },
    {
      title: "a chain that drops before openme's guard",
      rules:
        `add table inet raw; add chain inet raw pre { type filter hook prerouting priority -300; policy drop; }; add rule inet raw pre ct state established accept`,
      error: /chain inet raw pre drops what openme lets in to 22\/tcp 54154\/tcp: its policy drop/,
      hint: /before openme's guard/,
    },
  ];
  const choices = refused.flatMap((each) =>
    [true, false].map((dropPorts) => ({ ...each, dropPorts }))
  );
  for (const { title, rules, error, hint, dropPorts } of choices) {
    await t.step(`is an error at the start: ${title}, drop_ports: ${dropPorts}`, async () => {
      await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] }, dropPorts });
      await using owner = lab.start("server", ["nft", "-i"]);
      await owner.writeLine(rules);
      const before = await waitFor("the chain", async () => {
        const ruleset = await lab.ruleset();
        return /reject|pre \{[^}]*established/.test(ruleset) ? ruleset : "";
      });
      await using served = site.startServe();
      const status = await within(served.status, 15_000, undefined);
      assert.equal(status?.code, 1, served.lines.join("\n"));
      const line = await served.waitForLine(/^openme: error: /);
      assert.match(line, error);
      assert.match(await served.waitForLine(/^openme: hint: /), hint);
      assert.equal(
        (await lab.ruleset()).replaceAll(/packets \d+ bytes \d+/g, ""),
        before.replaceAll(/packets \d+ bytes \d+/g, ""),
      );
    });
  }
});

/** A container's published port, without Docker: destination NAT to the third machine, behind a forward chain. */
const DNAT_HOST = `table ip docker {
  chain prerouting {
    type nat hook prerouting priority dstnat
    fib daddr type local tcp dport 8443 dnat to ${IPV4.other}:22
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip daddr ${IPV4.other} masquerade
  }
}
table inet filter {
  chain forward {
    type filter hook forward priority 0; policy drop
    ct state established,related accept
    ip saddr ${IPV4.other} accept
  }
}`;

e2e("a published port behind a forward chain that drops", async (lab, t) => {
  const { client, other } = await lab.agents("client", "other");
  await other.listen({ tcp: [22] });
  await lab.run("server", ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
  const isOpen = () => client.reaches(IPV4.server, 8443);
  for (const firewall of ["nft", "iptables-nft", "iptables-legacy"]) {
    for (const dropPorts of [true, false]) {
      await t.step(
        `is closed before and open after a knock: ${firewall}, ${dropPorts}`,
        async () => {
          await using site = await createSite(lab, firewall, {
            clients: { alice: ["8443/tcp"] },
            dropPorts,
            knockTimeout: timeoutFor(firewall),
          });
          await lab.nft(DNAT_HOST);
          const before = await rulesOf(lab);
          await using served = await site.serve();
          assert.equal(await isOpen(), false);
          await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
          await waitFor("the published port to open", isOpen);
          await waitFor("the published port to close", async () => !await isOpen(), {
            timeoutMs: 10_000,
          });
          await served.stop();
          assert.equal(await rulesOf(lab), before);
        },
      );
    }
  }
});

/** An address behind the server, as seen from the client. */
const BEHIND = "10.9.0.1";

e2e("a router", async (lab, t) => {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22] });
  await other.listen({ tcp: [22] });
  const sysctl =
    "cd /proc/sys/net/ipv4; echo 1 >ip_forward; for i in all eth0; do echo 0 >conf/$i/send_redirects; done";
  await lab.run("server", ["sh", "-c", sysctl]);
  await lab.run("other", ["ip", "address", "add", `${BEHIND}/32`, "dev", "lo"]);
  await lab.run("server", ["ip", "route", "add", BEHIND, "via", IPV4.other]);
  await lab.run("client", ["ip", "route", "add", BEHIND, "via", IPV4.server]);
  const isOpen = () => client.reaches(BEHIND, 22);

  for (const firewall of ["nft", "iptables-nft", "iptables-legacy"]) {
    await t.step(`leaves forwarded traffic alone: ${firewall}`, async () => {
      await using site = await createSite(lab, firewall, { clients: { alice: ["22/tcp"] } });
      assert.ok(await isOpen());
      await using served = await site.serve();
      assert.equal(await client.reaches(IPV4.server, 22), false);
      assert.ok(await isOpen());
      await served.stop();
    });

    await t.step(`guards it where a group says so (guard.forward): ${firewall}`, async () => {
      await using site = await createSite(lab, firewall, {
        clients: { alice: ["ssh"] },
        knockTimeout: timeoutFor(firewall),
        ports: { ssh: ["22/tcp"] },
      });
      const text = await Deno.readTextFile(site.config);
      await Deno.writeTextFile(
        site.config,
        text.replace("ssh: [22/tcp]", "ssh: {ports: [22/tcp], guard: {forward: true}}"),
      );
      await using served = await site.serve();
      assert.equal(await isOpen(), false);
      assert.equal(await client.reaches(IPV4.server, 22), false);
      await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
      await waitFor("the way through to open", isOpen);
      assert.ok(await client.reaches(IPV4.server, 22));
      await waitFor("the way through to close", async () => !await isOpen(), { timeoutMs: 10_000 });
      await served.stop();
    });
  }
});
