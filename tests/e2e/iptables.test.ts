/** What is peculiar to hosts with iptables, of either kind: rules beside the filter table, the top of a chain, IPv6. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6, type Lab } from "./lab.ts";
import { startParties } from "./parties.ts";
import { OPENME, OPENME_WITHOUT_LIBC } from "../support/openme_command.ts";
import { openme, Served } from "./openme.ts";
import { Site, type SiteOptions } from "./site.ts";
import { waitFor, within } from "../support/wait.ts";

const KINDS = ["iptables-nft", "iptables-legacy"] as const;
type Kind = typeof KINDS[number];
const START_MS = 15_000;

async function createSite(lab: Lab, kind: Kind, options: Partial<SiteOptions>): Promise<Site> {
  const site = await Site.create(lab, { clients: { alice: ["22/tcp"] }, ...options });
  await edit(site, "firewall: nft", `firewall: ${kind}`);
  return site;
}

async function edit({ config }: Site, from: string, to: string): Promise<void> {
  const text = await Deno.readTextFile(config);
  assert.ok(text.includes(from), text);
  await Deno.writeTextFile(config, text.replace(from, to));
}

function bothFamilies(kind: Kind): [string, string] {
  return [kind, kind.replace("iptables", "ip6tables")];
}

/** Runs each line with both families' programs. */
async function iptables(lab: Lab, kind: Kind, ...lines: string[]): Promise<void> {
  for (const program of bothFamilies(kind)) {
    for (const line of lines) await lab.run("server", [program, ...line.split(" ")]);
  }
}

async function empty(lab: Lab): Promise<void> {
  for (const kind of KINDS) {
    const flush = ["raw", "mangle", "filter"].flatMap((
      table,
    ) => [`-t ${table} -F`, `-t ${table} -X`]);
    await iptables(lab, kind, "-P INPUT ACCEPT", "-P FORWARD ACCEPT", ...flush);
  }
}

async function rulesOf(lab: Lab): Promise<string> {
  const programs = KINDS.flatMap(bothFamilies);
  const texts = await Promise.all(programs.map((each) => lab.run("server", [`${each}-save`])));
  return texts.join("\n").replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "")
    .replaceAll(/\*\w+\n(:\w+ ACCEPT \n)+COMMIT\n/g, "");
}

/** Puts a program of the test's own before the one of that name; gives the PATH. */
async function shadow(site: Site, name: string, script: string): Promise<string> {
  const folder = `${site.dir}/bin`;
  await Deno.mkdir(folder, { recursive: true });
  const text = `#!/bin/sh\n${script}\nPATH=\${PATH#*:} exec ${name} "$@"\n`;
  await Deno.writeTextFile(`${folder}/${name}`, text, { mode: 0o755 });
  return `${folder}:${Deno.env.get("PATH")}`;
}

e2e("a host with iptables", async (lab, t) => {
  const { other, isOpen, isClosed, knock } = await startParties(lab);

  for (const kind of KINDS) {
    const step = (title: string, body: (site: Site) => Promise<void>, options = {}) =>
      t.step(`${title} (${kind})`, async () => {
        await using site = await createSite(lab, kind, options);
        try {
          await body(site);
        } finally {
          await empty(lab);
        }
      });

    await step("a rule in mangle INPUT that drops gets a hole", async (site) => {
      await iptables(lab, kind, "-t mangle -A INPUT -p tcp --dport 22 -j DROP");
      const before = await rulesOf(lab);
      await using served = await site.serve();
      await knock(site);
      await waitFor("the port to open", isOpen);
      await served.stop();
      assert.equal(await rulesOf(lab), before);
    }, { knockTimeout: "1m" });

    for (const table of ["raw", "mangle"]) {
      await step(
        `a rule in ${table} PREROUTING that drops is an error at the start`,
        async (site) => {
          await iptables(lab, kind, `-t ${table} -A PREROUTING -p tcp --dport 22 -j DROP`);
          const before = await rulesOf(lab);
          await using served = site.startServe();
          const status = await within(served.status, START_MS, undefined);
          assert.equal(status?.code, 1, served.lines.join("\n"));
          const rule = "-A PREROUTING -p tcp -m tcp --dport 22 -j DROP";
          const error = await served.waitForLine(/^openme: error: /);
          assert.ok(
            error.includes(`chain ip ${table} PREROUTING drops`) && error.includes(rule),
            error,
          );
          assert.match(await served.waitForLine(/^openme: hint: /), /no hole helps in PREROUTING/);
          assert.equal(await rulesOf(lab), before);
        },
      );
    }

    await step(
      "a rule that is put in front of openme's chain does not stay there",
      async (site) => {
        await using served = await site.serve();
        assert.equal(await isOpen(), false);
        await iptables(lab, kind, "-t mangle -I PREROUTING 1 -p tcp -j ACCEPT");
        assert.equal(await isOpen(), true);
        await waitFor("the port to close", isClosed, { timeoutMs: 10_000 });
        await served.waitForLine(/rules_restored/);
        await served.stop();
        const rules = await lab.run("server", [kind, "-t", "mangle", "-S", "PREROUTING"]);
        assert.equal(rules, "-P PREROUTING ACCEPT\n-A PREROUTING -p tcp -j ACCEPT\n");
      },
    );

    await step(
      "what a killed serve left goes on being guarded, and is taken over",
      async (site) => {
        const forUs = "-p tcp --dport 443 -j DROP";
        await iptables(lab, kind, `-A INPUT ${forUs}`, `-t mangle -A INPUT ${forUs}`);
        const before = await rulesOf(lab);
        {
          await using served = await site.serve();
          await knock(site);
          await waitFor("the port to open", isOpen);
          await served.kill("SIGKILL");
        }
        assert.equal(await other.reaches(IPV4.server, 22), false);
        assert.ok(await isOpen());
        // The client is no longer known: what it had in the kernel goes when the guard is taken over.
        await edit(site, "allowed_ports: [22/tcp]", "allowed_ports: [80/tcp]");
        await using served = await site.serve();
        assert.equal(await other.reaches(IPV4.server, 80), false);
        await waitFor("the grant to be one of other ports", async () => {
          const grants = await lab.run("server", [kind, "-t", "mangle", "-S", "OPENME_GRANTS"]);
          return !grants.includes("--dport 22 ");
        });
        await served.stop();
        assert.equal(await rulesOf(lab), before);
        assert.ok(await other.reaches(IPV4.server, 22));
      },
      { knockTimeout: "1m" },
    );

    await step("plan, and the log, know that both families drop", async (site) => {
      await iptables(
        lab,
        kind,
        "-P INPUT DROP",
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      );
      const plan = await openme(lab, "server", ["plan", "--config", site.config]);
      assert.doesNotMatch(plan.stdout, /open to everyone/, plan.stderr);
      await using served = await site.serve();
      await served.stop();
      assert.ok(!served.lines.some((line) => /ports_open_to_everyone/.test(line)));
      // Now IPv6 is open.
      await lab.run("server", [bothFamilies(kind)[1], "-P", "INPUT", "ACCEPT"]);
      const again = await openme(lab, "server", ["plan", "--config", site.config]);
      assert.match(again.stdout, /^22\/tcp.*\n {2}stay open to everyone in spite of openme/m);
      await using half = await site.serve();
      await half.waitForLine(/ports_open_to_everyone/);
    }, { dropPorts: false });

    await step("a configuration that it cannot keep changes nothing", async (site) => {
      await using served = await site.serve();
      await edit(site, "  drop_ports: true", "  drop_ports: true\n  closed_as: reject");
      await served.waitForLine(/config_rejected .*closed_as/);
      await knock(site);
      await waitFor("the port to open", isOpen);
      await served.stop();
      const check = await openme(lab, "server", ["check", "--config", site.config]);
      assert.equal(check.code, 1);
      assert.match(check.stderr, /server\.closed_as: expected "drop"/);
    }, { knockTimeout: "1m" });

    await step("a look at IPv6 that fails is not taken for none", async (site) => {
      const path = await shadow(site, "cat", 'case "$*" in *if_inet6*) echo hm >&2; exit 1;; esac');
      await using served = new Served(
        lab.start("server", [
          "env",
          `PATH=${path}`,
          ...OPENME_WITHOUT_LIBC,
          "serve",
          "--config",
          site.config,
        ]),
      );
      const status = await within(served.status, START_MS, undefined);
      assert.equal(status?.code, 1, served.lines.join("\n"));
      await served.waitForLine(/^openme: error: cannot tell what this kernel has/);
    });
  }
});

for (const kind of KINDS) {
  e2e(`a host without IPv6: ${kind}`, async (lab) => {
    const { server, client } = await lab.agents("server", "client");
    await server.listen({ tcp: [22] });
    const sysctl = "for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$each; done";
    await lab.run("server", ["sh", "-c", sysctl]);
    assert.equal(await client.reaches(IPV6.server, 22), false);
    await using site = await createSite(lab, kind, { knockTimeout: "1m" });
    // The list is empty then, and not there only in a kernel that was built or started without IPv6.
    const path = await shadow(site, "cat", 'case "$*" in *if_inet6*) set -- /proc/net/none;; esac');
    for (const suffix of ["", "-restore"]) {
      const program = bothFamilies(kind)[1] + suffix;
      await shadow(site, program, "echo 'Address family not supported by protocol' >&2; exit 3");
    }
    await using served = new Served(
      lab.start("server", [
        "env",
        `PATH=${path}`,
        ...OPENME_WITHOUT_LIBC,
        "serve",
        "--config",
        site.config,
      ]),
    );
    await served.waitForLine(/no_ipv6/, START_MS);
    await served.waitForLine(/listening/, START_MS);
    assert.equal(await client.reaches(IPV4.server, 22), false);
    await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
    await waitFor("the port to open", () => client.reaches(IPV4.server, 22));
    await served.stop();
    assert.ok(await client.reaches(IPV4.server, 22));
  });
}

for (const kind of KINDS) {
  // More at once than a capture follows.
  e2e(`what floods the knock port, or is no knock, goes no further: ${kind}`, async (lab) => {
    const { client, other, isOpen, knock } = await startParties(lab);
    await using site = await createSite(lab, kind, { knockTimeout: "1m" });
    await using served = await site.serve(["--log-level", "debug"]);
    await client.send(new Uint8Array(164), IPV4.server, KNOCK_PORT);
    await knock(site);
    await waitFor("the port to open", isOpen);
    assert.ok(!served.lines.some((line) => /reason=size/.test(line)), "a wrong size got through");
    const counters = () =>
      lab.run("server", [kind, "-t", "mangle", "-vxnL", "OPENME_KNOCK"]).then((text) =>
        text.split("\n").flatMap((line) => {
          const [, packets] = /^\s*(\d+)\s+\d+ DROP .*limit: above/.exec(line) ?? [];
          return packets === undefined ? [] : [Number(packets)];
        })
      );
    const burst =
      `const socket = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
      const to = { transport: "udp", hostname: "${IPV4.server}", port: ${KNOCK_PORT} };
      for (let i = 0; i < 12000; i++) await socket.send(new Uint8Array(165).fill(1), to);`;
    await lab.run("client", [Deno.execPath(), "eval", "--unstable-net", burst]);
    assert.ok((await counters()).some((packets) => packets > 0), "the meter dropped nothing");
    // Others are not meant. Without a stamp a knock would share the time for judging with what came through before it.
    await other.send(await site.seal("alice", { stamped: true }), IPV4.server, KNOCK_PORT);
    await waitFor("the other to get in", () => other.reaches(IPV4.server, 22));
    await served.waitForLine(/event=drops .*\bkernel_rate=[1-9]/, 40_000);
    assert.ok(served.lines.some((line) => /event=drops .*\bkernel_size=1\b/.test(line)));
    await served.stop();
  }, { silentServer: false });
}

e2e("auto, by what there is", async (lab) => {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  const missing = "echo 'Protocol not supported' >&2; exit 1";
  const start = async (site: Site, ...broken: string[]) => {
    let path = Deno.env.get("PATH");
    for (const name of broken) path = await shadow(site, name, missing);
    const command = [...OPENME, "serve", "--config", site.config];
    return new Served(lab.start("server", ["env", `PATH=${path}`, ...command]));
  };
  {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    await edit(site, "firewall: nft", "firewall: auto");
    await using served = await start(site, "nft");
    await served.waitForLine(/firewall_chosen backend=iptables why="?iptables works here, and nft/);
    await served.waitForLine(/listening/, START_MS);
    assert.equal(await client.reaches(IPV4.server, 22), false);
    await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
    await waitFor("the port to open", () => client.reaches(IPV4.server, 22));
    await served.stop();
  }
  {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    await edit(site, "firewall: nft", "firewall: auto");
    await shadow(
      site,
      "pfctl",
      `case "$*" in "-s info") echo 'Status: Enabled';; "-s rules") echo 'anchor "openme" all';; esac; exit 0`,
    );
    const path = `${site.dir}/bin:${Deno.env.get("PATH")}`;
    const plan = await lab.output("server", [
      ...["env", `PATH=${path}`, ...OPENME, "plan", "--config", site.config],
    ]);
    assert.match(plan.stderr, /firewall_chosen backend=pf why="?this host has pf/);
    assert.match(plan.stdout, /^pfctl -a openme -f -/m);
  }
  {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    await edit(site, "firewall: nft", "firewall: auto");
    await using served = await start(site, "nft", "pfctl", "iptables", "iptables-legacy");
    const status = await within(served.status, START_MS, undefined);
    assert.equal(status?.code, 1, served.lines.join("\n"));
    await served.waitForLine(/^openme: error: found no firewall to drive: .*pfctl.*nft.*iptables/);
    assert.ok(await client.reaches(IPV4.server, 22));
  }
}, { silentServer: false });
