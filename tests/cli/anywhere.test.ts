/**
 * The client on any system: a profile is imported, and a knock leaves that a server takes. .github/workflows/release.yml
 * runs it on macOS and Windows, on the program that is released; so nothing here is of one system alone.
 */

import assert from "node:assert/strict";
import "../support/loopback.ts";
import { VERSION } from "../../lib/values/version.ts";
import { ALICE, freshRules, outcome } from "../support/knocks.ts";
import { OPENME } from "../support/openme_command.ts";
import { profilesYaml } from "../support/server_yaml.ts";

async function openme(...args: string[]) {
  const [program, ...rest] = [...OPENME, ...args];
  const { code, stdout, stderr } = await new Deno.Command(program!, { args: rest }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("a profile is imported, and a knock by it is one that the gate takes", async () => {
  const home = await Deno.makeTempDir({ prefix: "openme-anywhere-" });
  const server = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  try {
    const version = await openme("--version");
    assert.deepEqual(version, { code: 0, stdout: `openme ${VERSION}\n`, stderr: "" });
    const { port } = server.addr as Deno.NetAddr;
    const file = `${home}/profile.yaml`;
    const to = ["--client-config", `${home}/new/config.yaml`];
    await Deno.writeTextFile(file, profilesYaml({ home: { port } }));
    const imported = await openme("import", file, ...to);
    assert.equal(imported.code, 0, imported.stderr);
    const again = await openme("import", file, "--as", "again", ...to);
    assert.equal(again.code, 0, again.stderr);
    const listed = await openme("profiles", ...to);
    assert.match(listed.stdout, /^\S*home\b/m, listed.stderr);

    assert.deepEqual(await openme("knock", "home", ...to), { code: 0, stdout: "", stderr: "" });
    const [datagram] = await server.receive(new Uint8Array(2048));
    const rules = freshRules({ clients: [ALICE] });
    assert.equal(outcome(datagram, rules, { nowNs: BigInt(Date.now()) * 1_000_000n }), "grant");

    const failed = await openme("knock", "nowhere", ...to);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /^openme: error: .*\nopenme: hint: /);
  } finally {
    server.close();
    await Deno.remove(home, { recursive: true });
  }
});
