/** `openme uninstall` without the rights for it. What it removes is in e2e/lifecycle.test.ts. */

import assert from "node:assert/strict";
import { serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { bareEnvironment, failure, openme, unprivileged } from "./program.ts";

Deno.test("openme uninstall without the rights for it says to try sudo", async () => {
  await using folder = await Folder.create();
  await folder.write("closed.yaml", serverYaml(), 0o000);
  await Deno.mkdir(folder.file("closed"), { mode: 0o000 });
  await Deno.mkdir(folder.file("bin"));
  await folder.write(
    "bin/nft",
    '#!/bin/sh\n[ "$1" = --version ] || { echo "Operation not permitted (you must be root)" >&2; exit 1; }\n',
    0o755,
  );
  const env = await bareEnvironment();
  // An nft is there on every machine; what else there is may not be used either.
  const through = [...unprivileged(), "/usr/bin/env", `PATH=${folder.file("bin")}`];
  const uninstall = (...args: string[]) =>
    openme(["uninstall", ...args], { cwd: folder.path, env, through });
  const owner = "run it as the file's owner, or with sudo";
  assert.deepEqual(
    await uninstall("--config", "closed.yaml"),
    failure(1, `cannot load "closed.yaml": permission denied`, owner),
  );
  assert.deepEqual(
    await uninstall("--config", "missing.yaml", "--state-dir", "closed"),
    failure(
      1,
      `cannot look into "closed": permission denied`,
      "it belongs to the user that runs openme serve: try sudo",
    ),
  );
  const { code, stderr } = await uninstall("--config", "missing.yaml", "--state-dir", "none");
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^openme: error: nft: nft .* failed .*\n(.*\n)*openme: hint: firewalls are root's to change: try sudo\n$/,
  );
});
