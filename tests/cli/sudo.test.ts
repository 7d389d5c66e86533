/** The owner of files that `sudo openme` writes. */

import assert from "node:assert/strict";
import { Folder } from "../support/folder.ts";
import { unless } from "../support/programs.ts";
import { bareEnvironment, openme } from "./program.ts";
import { serverYaml } from "../support/server_yaml.ts";

/** Why no file can be given to another user here, or `undefined`: an ordinary user's namespace knows one user only. */
async function chownMissing(): Promise<string | undefined> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.chown(path, 12345, 12346);
    return undefined;
  } catch {
    return "needs root outside of a user namespace";
  } finally {
    await Deno.remove(path);
  }
}

const missing = await chownMissing();

Deno.test({
  ...unless(
    missing,
    "a profile in the user's own folder is the user's, by sudo; in any other it is root's",
  ),
  fn: async () => {
    assert.equal(missing, undefined);
    await using folder = await Folder.create();
    const config = await folder.write("config.yaml", serverYaml());
    const env = await bareEnvironment({ SUDO_UID: "12345", SUDO_GID: "12346" });
    const rows: [name: string, owner: number, mode: number, expected: number][] = [
      ["home", 12345, 0o755, 12345],
      ["etc", 0, 0o755, 0],
      ["other", 12399, 0o755, 0],
      ["tmp", 12345, 0o777, 0],
    ];
    for (const [name, owner, mode, expected] of rows) {
      await Deno.mkdir(folder.file(name));
      await Deno.chmod(folder.file(name), mode);
      await Deno.chown(folder.file(name), owner, owner);
      const out = folder.file(`${name}/laptop.yaml`);
      const args = ["add", name, "--config", config, "--out", out];
      const { code, stderr } = await openme(args, { env });
      assert.equal(code, 0, stderr);
      const { uid, gid, mode: got } = await Deno.lstat(out);
      assert.deepEqual([uid, got! & 0o777], [expected, 0o600], name);
      assert.equal(gid, expected === 0 ? 0 : 12346);
    }
    // A link in its place is no file of theirs.
    const secret = await folder.write("secret", "x");
    await Deno.symlink(secret, folder.file("home/link.yaml"));
    const link = ["add", "link", "--config", config, "--out", folder.file("home/link.yaml")];
    assert.equal((await openme(link, { env })).code, 1);
    assert.equal((await Deno.stat(secret)).uid, 0);
    assert.equal(await folder.read("secret"), "x");
  },
});
