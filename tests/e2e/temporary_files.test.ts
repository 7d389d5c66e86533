/** What openme leaves in the temporary folder, where other users of the machine can leave files for it as well. */

import assert from "node:assert/strict";
import { openme } from "../cli/program.ts";
import { Folder } from "../support/folder.ts";
import { profilesYaml } from "../support/server_yaml.ts";

// A compiled program would run the code that it finds in its code cache there, whoever wrote it.
Deno.test("openme keeps no compiled code in the temporary folder", async () => {
  await using folder = await Folder.create();
  await using temporary = await Folder.create();
  const file = await folder.write("client.yaml", profilesYaml({ home: { port: 9 } }));
  const env = { ...Deno.env.toObject(), TMPDIR: temporary.path };
  // Waits at a closed port: a program that ends at once has no time to write its code cache.
  const args = ["knock", "--client-config", file, "--wait", "9", "--timeout", "1s"];
  const { code, stderr } = await openme(args, { env });
  assert.equal(code, 3, stderr);
  assert.deepEqual(await temporary.names(), []);
});
