/** What `openme doctor` says of a server that systemd runs, or should. */

import assert from "node:assert/strict";
import { serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { testWith } from "../support/programs.ts";
import { bareEnvironment, openme, openmeOnTerminal } from "./program.ts";

/** A configuration, and a systemctl that knows a unit in this state. */
async function site(state: string): Promise<{ folder: Folder; env: Record<string, string> }> {
  const folder = await Folder.create();
  await folder.write("server.yaml", serverYaml({ server: [`state_dir: ${folder.file("state")}`] }));
  await Deno.mkdir(folder.file("bin"));
  const script = `#!/bin/sh
[ "$1 $2" = "show openme.service" ] && echo 'LoadState=${state === "none" ? "not-found" : "loaded"}
ActiveState=${state}
MainPID=0'
`;
  await folder.write("bin/systemctl", script, 0o755);
  const env = await bareEnvironment();
  return { folder, env: { ...env, PATH: `${folder.file("bin")}:${env["PATH"]}` } };
}

async function doctor(state: string): Promise<string> {
  const { folder, env } = await site(state);
  await using _folder = folder;
  const args = ["doctor", "--server", "--config", folder.file("server.yaml")];
  return (await openme(args, { env })).stdout;
}

Deno.test("openme doctor names systemctl where a unit runs the server", async () => {
  assert.match(
    await doctor("inactive"),
    /^fail {2}serve {3}cannot reach openme serve: it is not running; openme\.service is inactive\n +-> sudo systemctl enable --now openme$/m,
  );
  assert.match(
    await doctor("failed"),
    /openme\.service is failed\n +-> see why: journalctl -u openme -n 50; then: sudo systemctl restart openme$/m,
  );
  assert.match(await doctor("none"), /it is not running\n +-> start it: openme serve;/);
});

testWith(
  ["script"],
  "openme doctor has colours on a terminal, unless NO_COLOR is set",
  async () => {
    const { folder, env } = await site("inactive");
    await using _folder = folder;
    const args = ["doctor", "--server", "--config", folder.file("server.yaml")];
    const { shown } = await openmeOnTerminal(args, { env: { ...env, NO_COLOR: "" } });
    assert.ok(shown.startsWith("\x1b[32mok  \x1b[0m  config"), shown);
    assert.ok(shown.includes("\n\x1b[31mfail\x1b[0m  serve"), shown);
    const plain = await openmeOnTerminal(args, { env: { ...env, NO_COLOR: "1" } });
    assert.ok(!plain.shown.includes("\x1b"), plain.shown);
  },
);
