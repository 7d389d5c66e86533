/** What lintian says of the .deb, and shellcheck of the scripts of all packages. */

import assert from "node:assert/strict";
import { maintainerScripts } from "../../scripts/package/maintainer_scripts.ts";
import { NAMES, packagePath, succeed, testPackages } from "./dist.ts";

await testPackages(["lintian"], "lintian finds no error and no warning in the .deb", async () => {
  // As root it says that it should not be.
  const args = ["--allow-root", "--fail-on=error,warning", "--tag-display-limit=0"];
  assert.equal(await succeed("lintian", ...args, packagePath(NAMES.deb)), "");
});

await testPackages(["shellcheck"], "shellcheck finds nothing in the scripts", async () => {
  const dir = await Deno.makeTempDir({ prefix: "openme-scripts-" });
  try {
    for (const manager of ["deb", "rpm", "arch"]) {
      for (const [name, text] of await maintainerScripts(manager)) {
        assert.match(text, /\nafter_install\(\) \{\n/, "the steps are in it");
        const path = `${dir}/${manager}-${name}`;
        await Deno.writeTextFile(path, text);
        await succeed("shellcheck", "--shell=sh", path);
      }
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
