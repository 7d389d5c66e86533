/** `openme plan` on hosts where what it says is not simply all or nothing. */

import assert from "node:assert/strict";
import { findProgram } from "../support/programs.ts";
import { e2e } from "./e2e.ts";
import { flushLegacy, setFirewall } from "./host_rules.ts";
import type { Output } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme } from "./openme.ts";
import { HOST_RULES } from "./rules.ts";
import { Site } from "./site.ts";

/** What runs a command on a host that has not got a program, though this one may; in a namespace of the lab's. */
function without(program: string, dir: string): string[] {
  const path = findProgram(program);
  if (path === undefined) return [];
  // Links to everything else in the folder; every command in a namespace of the lab's has mounts of its own.
  const script = `set -e
folder=\${0%/*} all=$1/all
shift
mkdir -p "$all"
mount --bind "$folder" "$all"
mount -t tmpfs tmpfs "$folder"
"$all/ln" -s "$all"/* "$folder"
"$all/rm" "$0"
exec "$@"`;
  return ["sh", "-c", script, path, dir];
}

const ALICE = { clients: { alice: ["22/tcp"] } };

e2e("plan", async (lab, t) => {
  const plan = (site: Site, ...flags: string[]): Promise<Output> =>
    openme(lab, "server", ["plan", ...flags, "--config", site.config]);
  const good = async (site: Site, ...flags: string[]): Promise<string> => {
    const { code, stdout, stderr } = await plan(site, ...flags);
    assert.equal(code, 0, stderr);
    return stdout;
  };

  await t.step("says that other interfaces than the guarded one stay open", async () => {
    await using site = await Site.create(lab, { ...ALICE, server: ["interface: eth0"] });
    const closing = /^22\/tcp 54154\/tcp\n {2}become closed on eth0, until a knock opens them$/m;
    const elsewhere =
      /^22\/tcp 54154\/tcp\n {2}stay open to everyone in spite of openme \(on other interfaces than eth0/m;
    const text = await good(site);
    assert.match(text, closing);
    assert.match(text, elsewhere);
    const shown = JSON.parse(await good(site, "--json"));
    assert.equal(shown.interface, "eth0");
    assert.deepEqual(shown.ports_become_closed, ["22/tcp", "54154/tcp"]);
    assert.deepEqual(shown.ports_open_in_spite, ["22/tcp", "54154/tcp"]);

    const guarded = await openme(lab, "server", ["guard", "--config", site.config]);
    assert.match(guarded.stderr, /closed by nft on eth0: 22\/tcp 54154\/tcp/);
    const standing = await good(site);
    assert.match(standing, /^22\/tcp 54154\/tcp\n {2}are closed already on eth0, and/m);
    assert.match(standing, elsewhere);
    await lab.nft("flush ruleset");

    await lab.nft(HOST_RULES);
    const closed = await good(site);
    assert.match(
      closed,
      /^22\/tcp 54154\/tcp\n {2}are closed already, and open for a knock on eth0$/m,
    );
    assert.doesNotMatch(closed, /in spite/, "the host closes them everywhere");
    await lab.nft("flush ruleset");
  });

  await t.step("takes --interface as serve does, and so does guard", async () => {
    await using site = await Site.create(lab, ALICE);
    assert.doesNotMatch(await good(site), /in spite|eth1/);
    assert.match(await good(site, "--interface", "eth1"), /become closed on eth1[^]*than eth1/);
    for (const command of ["plan", "guard"]) {
      const args = [command, "--interface", "no such", "--config", site.config];
      const { code, stderr } = await openme(lab, "server", args);
      assert.equal(code, 2);
      assert.match(stderr, /--interface: expected the name of a network interface/);
    }
    const args = ["guard", "--interface", "eth1", "--config", site.config];
    const { code, stderr } = await openme(lab, "server", args);
    assert.equal(code, 0, stderr);
    assert.match(await lab.ruleset(), /iifname != "eth1" accept/);
  });

  await t.step("calls closed only what the guard that stands closes", async () => {
    for (const firewall of ["nft", "iptables-nft"]) {
      await using site = await Site.create(lab, { ...ALICE, firewall });
      const fates = async (...flags: string[]) => {
        const shown = JSON.parse(await good(site, "--json", ...flags));
        return [shown.ports_become_closed.join(" "), shown.ports_closed.join(" ")];
      };
      const guard = async (...flags: string[]) => {
        const args = ["guard", ...flags, "--config", site.config];
        const { code, stderr } = await openme(lab, "server", args);
        assert.equal(code, 0, stderr);
      };
      await guard("--interface", "eth0");
      assert.deepEqual(await fates("--interface", "eth0"), ["", "22/tcp 54154/tcp"]);
      assert.deepEqual(await fates(), ["22/tcp 54154/tcp", ""], "other interfaces are open yet");
      await guard();
      assert.deepEqual(await fates(), ["", "22/tcp 54154/tcp"]);
      await site.configure({ clients: { alice: ["22/tcp", "80/tcp"] } });
      assert.deepEqual(await fates(), ["80/tcp", "22/tcp 54154/tcp"]);
    }
  });

  for (const left of ["nft", "iptables-nft", "iptables-legacy"]) {
    await t.step(`and serve, tell of a guard that ${left} left and nobody takes over`, async () => {
      await using site = await Site.create(lab, { ...ALICE, dropPorts: true });
      await setFirewall(site, left);
      const guarded = await openme(lab, "server", ["guard", "--config", site.config]);
      assert.equal(guarded.code, 0, guarded.stderr);
      assert.doesNotMatch((await plan(site)).stderr, /warning/, "a guard that is taken over");
      await site.configure({ dropPorts: false, firewall: "none" });
      const { stderr } = await plan(site);
      assert.match(
        stderr,
        new RegExp(`^openme: warning: a guard of openme's stands in ${left}, .*none`, "m"),
      );
      assert.match(stderr, /^openme: hint: .*openme uninstall takes it out/m);
      await using served = await site.serve();
      await served.waitForLine(
        new RegExp(`level=warn event=guard_in_the_way firewall=${left} .*openme uninstall`),
      );
      await served.stop();
      const removed = await openme(lab, "server", ["uninstall", "--config", site.config]);
      assert.equal(removed.code, 0, removed.stderr);
      assert.equal((await plan(site)).stderr, "");
      await flushLegacy(lab);
    });
  }

  await t.step(
    "fails, as serve and its dry run do, where the firewall's program is missing",
    async () => {
      const programs = { pf: "pfctl", firewalld: "firewall-cmd" };
      for (const [firewall, program] of Object.entries(programs)) {
        await using site = await Site.create(lab, { ...ALICE, firewall, dropPorts: false });
        const command = (...args: string[]) => [
          ...without(program, site.dir),
          ...[...OPENME, ...args, "--config", site.config],
        ];
        const { code, stdout, stderr } = await lab.output("server", command("plan"));
        assert.equal(code, 1, stdout);
        assert.match(
          stderr,
          new RegExp(`error: cannot run ${program}: there is no such program`),
        );
        const served = await lab.output("server", command("serve", "--dry-run"));
        assert.equal(served.code, 1);

        const check = await lab.output("server", command("check"));
        assert.equal(check.code, 0, "a file may be checked on another machine");
        const warning =
          `openme: warning: server.firewall: ${firewall}: there is no program ${program} `;
        assert.ok(check.stderr.includes(warning), check.stderr);
      }
      await using site = await Site.create(lab, { ...ALICE, dropPorts: false });
      const command = "firewall: command\n  command: {open: [openme-has-none], close: [sh]}";
      const text = await Deno.readTextFile(site.config);
      await Deno.writeTextFile(site.config, text.replace("firewall: nft", command));
      const { code, stderr } = await plan(site);
      assert.equal(code, 1);
      assert.match(stderr, /server\.command\.open: there is no program "openme-has-none"/);
    },
  );
}, { silentServer: false });
