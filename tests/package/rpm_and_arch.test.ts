/**
 * When rpm and pacman call what of the scripts (what each step does is in scripts.test.ts: the steps are the same), and a
 * knock from what the .rpm has installed.
 */

import assert from "node:assert/strict";
import { e2e } from "../e2e/e2e.ts";
import { IPV4 } from "../e2e/lab.ts";
import { makeRpm } from "../../scripts/package/nfpm.ts";
import { waitFor } from "../support/wait.ts";
import { IS_ACTIVE, Tree } from "./debian_tree.ts";
import { NAMES, packagePath, packagesMissing, succeed } from "./dist.ts";

const NEXT_STEP = /^openme: installed, and no port is closed yet\. Next: sudo openme setup$/m;
const PORT = 4022;
const REMOVED = [
  IS_ACTIVE,
  "stop openme.service openme-guard.service",
  "disable --quiet openme.service openme-guard.service",
  "daemon-reload",
];

e2e("the .rpm", async (lab, t) => {
  await using tree = await Tree.create(lab);
  await tree.fakeSystemd();
  const rpm = (...args: string[]) => succeed("rpm", "--root", tree.root, "--nodeps", ...args);

  await t.step("installing starts nothing and says the next step", async () => {
    assert.match(await rpm("--install", packagePath(NAMES.rpm)), NEXT_STEP);
    assert.deepEqual(await tree.systemctlCalls(), ["daemon-reload"]);
  });

  await t.step("its openme serves, and its openme knocks", async () => {
    const { server, client, other } = await lab.agents("server", "client", "other");
    await server.listen({ tcp: [PORT] });
    await tree.run(`openme init --server ${IPV4.server}`);
    await tree.run(`openme add anna --ports ${PORT}/tcp --out /root/anna.yaml`);
    await using served = lab.start("server", tree.command("openme", "serve"));
    await served.stderr.waitFor(/event=listening/, 15_000);
    assert.equal(await client.reaches(IPV4.server, PORT), false);
    const knock = ["openme", "knock", "--client-config", "/root/anna.yaml"];
    await lab.run("client", tree.command(...knock));
    await waitFor("the port to open", () => client.reaches(IPV4.server, PORT));
    assert.equal(await other.reaches(IPV4.server, PORT), false);
    assert.equal((await served.kill("SIGTERM", 10_000)).code, 0);
    assert.ok(await other.reaches(IPV4.server, PORT));
  });

  await t.step("an upgrade does not stop and disable the units", async () => {
    const [next] = await makeRpm({
      ...{ program: `${tree.root}/usr/bin/openme`, dist: tree.root, version: "999.0.0" },
      ...{ architecture: Deno.build.arch, epochSeconds: 1_700_000_000 },
    });
    assert.equal(await rpm("--upgrade", next!), "");
    assert.deepEqual(await tree.systemctlCalls(), ["daemon-reload", IS_ACTIVE]);
  });

  await t.step("removing stops the units first, and disables them", async () => {
    await rpm("--erase", "openme");
    assert.deepEqual(await tree.systemctlCalls(), REMOVED);
    assert.equal(await tree.exists("/usr/bin/openme"), false);
  });
}, { needs: await packagesMissing("rpm", "unshare", "chroot") });

e2e("the functions of the package for Arch", async (lab) => {
  await using tree = await Tree.create(lab);
  await tree.fakeSystemd();
  const path = packagePath(NAMES.arch);
  await succeed("tar", "--zstd", "-xf", path, "-C", tree.root, ".INSTALL", "usr/bin/openme");
  // As pacman calls them.
  const call = (line: string) => tree.run(`bash -c '. /.INSTALL; ${line}'`);
  assert.match(await call("post_install 0.1.0-1"), NEXT_STEP);
  assert.deepEqual(await tree.systemctlCalls(), ["daemon-reload"]);
  assert.equal(await call("post_upgrade 0.1.1-1 0.1.0-1"), "");
  assert.deepEqual(await tree.systemctlCalls(), ["daemon-reload", IS_ACTIVE]);
  await call("pre_remove 0.1.1-1");
  await call("post_remove 0.1.1-1");
  assert.deepEqual(await tree.systemctlCalls(), REMOVED);
}, { needs: await packagesMissing("tar", "zstd"), silentServer: false });
