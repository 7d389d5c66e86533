/**
 * What the scripts of the .deb do in a root tree of Debian 12: install, upgrade, remove, purge. There systemd does not
 * run; where it should seem to, a `systemctl` stands in that writes down how it is called. The machine that boots is
 * in tests/boot.
 */

import assert from "node:assert/strict";
import { e2e } from "../e2e/e2e.ts";
import { IS_ACTIVE, Tree } from "./debian_tree.ts";
import { makeNext, NAMES, packagePath, packagesMissing } from "./dist.ts";

const CONFIGURE = "openme init --server vps.example.org && openme add laptop --out $(mktemp -u)";
const STATE = ["/etc/openme/config.yaml", "/var/lib/openme/state.db"];

const needs = await packagesMissing("dpkg", "unshare", "chroot");

e2e("the .deb in a tree without systemd", async (lab, t) => {
  await using tree = await Tree.create(lab);
  await Deno.copyFile(packagePath(NAMES.deb), `${tree.root}/openme.deb`);

  await t.step("installing closes nothing and says the next step in one line", async () => {
    const said = await tree.run("dpkg -i /openme.deb");
    assert.equal([...said.matchAll(/^openme: .*$/gm)].length, 1, said);
    assert.match(said, /^openme: installed, and no port is closed yet\. Next: sudo openme setup$/m);
    assert.equal(await lab.ruleset(), "");
    assert.match(await tree.run("openme --version"), /^openme \d/);
    assert.match(await tree.run("stat -c %a%U /etc/openme"), /^700root$/m);
  });

  await t.step("an upgrade leaves rules, keys and state alone", async () => {
    await tree.run(CONFIGURE);
    await tree.run("openme guard");
    const ruleset = await lab.ruleset();
    assert.match(ruleset, /table inet openme/);
    const config = await Deno.readTextFile(tree.root + STATE[0]);
    const said = await tree.run("dpkg -i /openme.deb");
    assert.doesNotMatch(said, /^openme: /m);
    assert.equal(await lab.ruleset(), ruleset);
    assert.equal(await Deno.readTextFile(tree.root + STATE[0]), config);
  });

  await t.step("removing takes the rules out, and keeps keys and state", async () => {
    for (const path of STATE) assert.ok(await tree.exists(path), path);
    await tree.run("dpkg -r openme");
    assert.equal(await lab.ruleset(), "");
    assert.equal(await tree.exists("/usr/bin/openme"), false);
    for (const path of STATE) assert.ok(await tree.exists(path), path);
  });

  await t.step("purging takes keys and state, and nothing of openme is left", async () => {
    await tree.run("dpkg -i /openme.deb && dpkg -P openme");
    const left = await tree.run("find /etc /usr /var /run -name '*openme*'");
    assert.equal(left, "");
  });

  await t.step("a configuration with a mistake does not keep the rules", async () => {
    await tree.run(`dpkg -i /openme.deb && ${CONFIGURE} && openme guard`);
    await Deno.writeTextFile(tree.root + STATE[0], "server: {\n");
    await tree.run("dpkg -P openme");
    assert.equal(await lab.ruleset(), "");
  });

  await t.step("removing it from a chroot leaves the rules of the machine around it", async () => {
    await tree.run(`dpkg -i /openme.deb && ${CONFIGURE} && openme guard`);
    await lab.run("server", ["chroot", tree.root, "dpkg", "-P", "openme"]);
    assert.match(await lab.ruleset(), /table inet openme/);
  });
}, { needs, silentServer: false });

e2e("the .deb in a tree where systemd seems to run", async (lab, t) => {
  await using tree = await Tree.create(lab);
  await Deno.copyFile(packagePath(NAMES.deb), `${tree.root}/openme.deb`);
  await tree.fakeSystemd();

  await t.step("installing starts nothing", async () => {
    await tree.run("dpkg -i /openme.deb");
    assert.deepEqual(await tree.systemctlCalls(), ["daemon-reload"]);
  });

  await t.step("an upgrade to a higher version restarts the server if it runs", async () => {
    await tree.run(CONFIGURE);
    await makeNext(`${tree.root}/next.deb`);
    const install = "dpkg -i /next.deb";
    await tree.run(install);
    assert.deepEqual(await tree.systemctlCalls(), ["daemon-reload", IS_ACTIVE]);
    await tree.run(`touch /run/active && ${install}`);
    assert.deepEqual(await tree.systemctlCalls(), [
      ...[
        "daemon-reload",
        IS_ACTIVE,
        "kill --kill-who=main --signal=USR1 openme.service",
        "restart openme.service",
      ],
    ]);
    await Deno.writeTextFile(tree.root + STATE[0], "server: {\n");
    assert.match(await tree.run(install), /^openme: warning: the server still runs the version/m);
    assert.deepEqual(await tree.systemctlCalls(), ["daemon-reload", IS_ACTIVE]);
  });

  await t.step("removing stops the units first, and disables them", async () => {
    await tree.run("dpkg -r openme");
    assert.deepEqual(await tree.systemctlCalls(), [
      IS_ACTIVE,
      "stop openme.service openme-guard.service",
      "disable --quiet openme.service openme-guard.service",
      "daemon-reload",
    ]);
  });

  await t.step(
    "a server that runs by hand keeps the package, and its unit starts again",
    async () => {
      await tree.run("dpkg -P openme && dpkg -i /openme.deb");
      await tree.run(CONFIGURE);
      const { code, stderr } = await tree.output(`openme serve 2>/run/serve.log &
      until grep -q event=listening /run/serve.log; do sleep 0.1; done
      : > /run/systemctl.log
      dpkg -r openme`);
      assert.notEqual(code, 0);
      assert.match(stderr, /openme: error: openme serve is running/);
      assert.ok(await tree.exists("/usr/bin/openme"));
      assert.deepEqual((await tree.systemctlCalls()).slice(0, 3), [
        ...[IS_ACTIVE, "stop openme.service openme-guard.service", "start openme.service"],
      ]);
    },
  );
}, { needs, silentServer: false });
