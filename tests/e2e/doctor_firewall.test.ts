/** What `openme doctor` says of the firewall, for every backend: what is so, whoever serves or has served. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { LINE_MS } from "../support/spawned.ts";

interface Finding {
  readonly level: "ok" | "warn" | "fail";
  readonly what: string;
  readonly found: string;
}

/** The findings about the firewall, as `LEVEL WHAT: FOUND`, and the exit code. */
async function ask(lab: Lab, site: Site, ...args: string[]) {
  const { code, stdout, stderr } = await openme(lab, "server", [
    ...["doctor", "--server", "--json", "--config", site.config, ...args],
  ]);
  assert.equal(stderr, "");
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  return {
    code,
    told: findings.filter(({ what }) => ["rules", "hole", "ports", "grants"].includes(what))
      .map(({ level, what, found }) => `${level} ${what}: ${found}`),
  };
}

const GUARDED = "22/tcp 54154/tcp";

interface Backend {
  readonly firewall: string;
  /** What `auto`, and a program's name, become. */
  readonly name: string;
  /** What makes a stranger reach every port while the rules seem to stand, and what doctor says then. */
  readonly pierce: readonly (readonly [command: readonly string[], found: RegExp])[];
}

const iptables = (kind: "nft" | "legacy") =>
  [
    [
      [`iptables-${kind}`, "-t", "mangle", "-F", "OPENME_GRANTS"],
      /^IPv4: the chain OPENME_GRANTS lacks -j DROP$/,
    ],
    [
      [`iptables-${kind}`, "-t", "mangle", "-I", "OPENME_GRANTS", "-j", "RETURN"],
      /^IPv4: a rule of the chain OPENME_GRANTS lets everyone pass$/,
    ],
    [
      [`iptables-${kind}`, "-t", "mangle", "-F", "PREROUTING"],
      /^IPv4: PREROUTING does not jump to OPENME$/,
    ],
  ] as const;

const BACKENDS: readonly Backend[] = [
  {
    firewall: "nft",
    name: "nft",
    pierce: [
      [
        ["nft", "flush chain inet openme guard"],
        /^the chain guard does not end in a rule that drops$/,
      ],
      [["nft", "insert rule inet openme guard accept"], /^a rule of the chain guard lets everyone/],
      [["nft", "flush chain inet openme prerouting"], /^no rule leads to the chain guard/],
      [["nft", "add table inet openme { flags dormant; }"], /^the table inet openme is dormant$/],
      [["nft", "delete table inet openme"], /^the table inet openme is not there, or not whole$/],
    ],
  },
  { firewall: "auto", name: "nft", pierce: [] },
  { firewall: "iptables-nft", name: "iptables-nft", pierce: iptables("nft") },
  { firewall: "iptables", name: "iptables", pierce: [] },
  { firewall: "iptables-legacy", name: "iptables-legacy", pierce: iptables("legacy") },
];

for (const { firewall, name, pierce } of BACKENDS) {
  e2e(`doctor with firewall: ${firewall}`, async (lab, t) => {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] }, firewall });
    const { server, other } = await lab.agents("server", "other");
    await server.listen({ tcp: [22, 8080] });
    const well = [
      `ok rules: ${name}: all in place`,
      "ok hole: the host's own chains: nothing in the way",
      `ok ports: closed by openme: ${GUARDED}`,
    ];
    const reached = (port: number) => other.reaches(IPV4.server, port, 300);
    /** As a crash leaves it: the rules stand, and nobody tends them. */
    const serveAndDie = async () => {
      await using served = await site.serve();
      await served.kill("SIGKILL");
    };

    await t.step("a server that runs healthily is well", async () => {
      await using served = await site.serve();
      await site.knock("alice");
      await served.waitForLine(/event=granted/);
      assert.deepEqual(await ask(lab, site), { code: 0, told: well });
      await served.kill("SIGKILL");
    });

    await t.step("what a dead one left is looked at all the same", async () => {
      const { code, told } = await ask(lab, site);
      assert.equal(code, 1, "nobody serves");
      assert.deepEqual(told.slice(1), well.slice(1));
      assert.match(
        told[0]!,
        new RegExp(`^warn rules: ${name}: all in place, but no openme serve runs`),
      );
      assert.equal(await reached(22), false);
    });

    await t.step("ports that came into the file since are open, and it says so", async () => {
      await site.configure({ ports: { web: ["8080/tcp"] } });
      assert.ok(await reached(8080));
      const { told } = await ask(lab, site);
      assert.match(told[0]!, /^fail rules: .*not guarded: 8080\/tcp/);
      assert.equal(told.at(-1), "fail ports: open as without openme: 8080/tcp");
      await site.configure({ ports: {} });
    });

    for (const [command, found] of pierce) {
      await t.step(`${command.join(" ")}: a stranger gets in, and it says so`, async () => {
        await serveAndDie();
        await lab.run("server", command);
        assert.ok(await reached(22));
        const { code, told } = await ask(lab, site);
        assert.equal(code, 1);
        const [level, text] = /^(\w+ rules): (.*)$/.exec(told[0]!)!.slice(1);
        assert.equal(level, "fail rules");
        assert.match(text!.slice(`${name}: `.length), found);
        assert.equal(told.at(-1), `fail ports: open as without openme: ${GUARDED}`);
      });
    }

    if (pierce.length > 0) {
      await t.step("a server that runs notices within 10 s", async () => {
        await using served = await site.serve();
        for (const [command] of pierce) {
          const from = served.lines.length;
          await lab.run("server", command);
          await served.waitForLine(/event=rules_missing/, 10_000, from);
          await served.waitForLine(/event=rules_restored/, LINE_MS, from);
          assert.equal(await reached(22), false);
        }
        assert.deepEqual((await ask(lab, site)).told, well);
        await served.stop();
      });
    }
    for (const program of ["iptables-legacy", "ip6tables-legacy"]) {
      await lab.run("server", [program, "-t", "mangle", "-F"]);
    }
  });
}

for (const firewall of ["iptables-nft", "iptables-legacy"]) {
  e2e(`doctor with firewall: ${firewall} behind the host's own rules`, async (lab) => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      firewall,
      dropPorts: false,
    });
    const inServer = (command: string) => lab.run("server", command.split(" "));
    for (const program of [firewall, firewall.replace("ip", "ip6")]) {
      await inServer(`${program} -P INPUT DROP`);
    }
    await using served = await site.serve();
    const well = [
      `ok rules: ${firewall}: all in place`,
      "ok hole: the host's own chains: openme has its rule at their top",
      `ok ports: closed by the host's own rules: ${GUARDED}`,
    ];
    await site.knock("alice");
    await served.waitForLine(/event=granted/);
    assert.deepEqual(await ask(lab, site), { code: 0, told: well });
    await served.kill("SIGKILL");
    await inServer(`${firewall} -F INPUT`);
    const { told } = await ask(lab, site);
    assert.equal(
      told[1],
      "fail hole: these chains may drop knocks, or what they open: ip filter INPUT",
    );
    await inServer(`${firewall} -P INPUT ACCEPT`);
    assert.match((await ask(lab, site)).told[2]!, /^fail ports: open to everyone: 22\/tcp/);
    for (const program of [firewall, firewall.replace("ip", "ip6")]) {
      await inServer(`${program} -F`);
      await inServer(`${program} -P INPUT ACCEPT`);
      await inServer(`${program} -t mangle -F`);
    }
  });
}

e2e("doctor with firewall: command, and none", async (lab, t) => {
  const command = (open: string) => ["command:", `  open: [${open}]`, '  close: ["true"]'];
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    firewall: "command",
    dropPorts: false,
    knockTimeout: "30s",
    server: command('"true"'),
  });
  const unseen =
    `warn ports: open to everyone: ${GUARDED} (firewall: none closes nothing, and this host's own firewall lets everyone in to them)`;
  const byCommand =
    "ok rules: command: your programs open and close; without server.command.list openme cannot see what they did";

  await t.step("command is well, with a server or without one", async () => {
    const open =
      `warn ports: open to everyone: ${GUARDED} (this host's own firewall lets everyone in to them)`;
    await using served = await site.serve();
    assert.deepEqual(await ask(lab, site), { code: 0, told: [byCommand, open] });
    await served.stop();
    assert.deepEqual((await ask(lab, site)).told, [byCommand, open]);
  });

  await t.step("a program that fails shows, with whom it kept out", async () => {
    await site.configure({ server: command('"false"') });
    await using served = await site.serve();
    await site.knock("alice");
    await served.waitForLine(/event=firewall_failed/);
    const { code, told } = await ask(lab, site);
    assert.equal(code, 1);
    assert.deepEqual(told, [
      "fail rules: command: false failed with exit code 1",
      `warn ports: cannot tell whether they are closed: ${GUARDED}`,
      `fail grants: the firewall refused: alice at ${IPV4.client} (22/tcp)`,
    ]);
    await served.stop();
  });

  await t.step(
    "none touches nothing, and says so; --state-dir leads to another server",
    async () => {
      await site.configure({ firewall: "none", dropPorts: true, server: [] });
      const elsewhere = await Deno.makeTempDir({ prefix: "openme-state-" });
      await using served = await site.serve(["--state-dir", elsewhere]);
      const none = "ok rules: none: openme decides, and touches no firewall";
      assert.deepEqual(await ask(lab, site, "--state-dir", elsewhere), {
        code: 0,
        told: [none, unseen],
      });
      assert.deepEqual(
        await ask(lab, site),
        { code: 1, told: [none, unseen] },
        "nobody serves here",
      );
      // The file is no longer what the server has in force.
      await site.configure({ ports: { "a b": ["8080/tcp"] } });
      await served.waitForLine(/event=config_rejected/);
      await site.configure({ ports: {} });
      await served.waitForLine(/event=reloaded/);
      await served.stop();
      await Deno.remove(elsewhere, { recursive: true });
    },
  );

  await t.step("a file that the server has not taken", async () => {
    await site.configure({ firewall: "nft", server: [] });
    await using served = await site.serve(["--interface", "eth0"]);
    const inForce = `closed by openme: ${GUARDED}, on eth0 only`;
    assert.equal((await ask(lab, site)).told.at(-1), `ok ports: ${inForce}`);
    await Deno.writeTextFile(
      `${site.dir}/other.yaml`,
      (await Deno.readTextFile(site.config)).replace("[22/tcp]", "[22/tcp, 80/tcp]"),
      { mode: 0o600 },
    );
    const { told } = await ask(lab, site, "--config", `${site.dir}/other.yaml`);
    assert.equal(
      told.at(-1),
      `fail ports: openme serve guards ${GUARDED} with drop_ports: true, ` +
        "the file says 22/tcp 80/tcp 54154/tcp with drop_ports: true",
    );
    await served.stop();
  });
});
