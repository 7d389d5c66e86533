/** When rpm and pacman call what of the scripts. What each step does is in scripts.test.ts: the steps are the same. */

import assert from "node:assert/strict";
import { e2e } from "../e2e/e2e.ts";
import { makeRpm } from "../../scripts/package/nfpm.ts";
import { IS_ACTIVE, Tree } from "./debian_tree.ts";
import { NAMES, packagePath, packagesMissing, succeed } from "./dist.ts";

const NEXT_STEP = /^openme: installed, and no port is closed yet\. Next: sudo openme setup$/m;
const REMOVED = [
  IS_ACTIVE,
  "stop openme.service openme-guard.service",
  "disable --quiet openme.service openme-guard.service",
  "daemon-reload",
];

e2e("the scripts of the .rpm", async (lab, t) => {
  await using tree = await Tree.create(lab);
  await tree.fakeSystemd();
  const rpm = (...args: string[]) => succeed("rpm", "--root", tree.root, "--nodeps", ...args);

  await t.step("installing starts nothing and says the next step", async () => {
    assert.match(await rpm("--install", packagePath(NAMES.rpm)), NEXT_STEP);
    assert.deepEqual(await tree.systemctlCalls(), ["daemon-reload"]);
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
}, { needs: await packagesMissing("rpm"), silentServer: false });

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
