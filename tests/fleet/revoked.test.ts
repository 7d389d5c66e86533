import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { RevokedKeys } from "../../lib/fleet/revoked.ts";
import { Folder } from "../support/folder.ts";
import { ALICE } from "../support/knocks.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";

function configOf(...names: string[]) {
  const clients = { alice: ALICE_PUBLIC, bob: OTHER_PUBLIC };
  const lines = names.map((name) =>
    `  ${name}: {ed25519_pubkey: ${clients[name as "alice"]}, allowed_ports: [${name.length}/tcp]}`
  );
  return parseServerConfig(serverYaml({ rest: ["clients:", ...lines].join("\n") }), "server.yaml");
}

Deno.test("a key that was revoked for the fleet is no client's until its entry is gone, also after a restart", async () => {
  await using folder = await Folder.create();
  const both = configOf("alice", "bob");
  const first = RevokedKeys.open(folder.path);
  assert.equal(first.without(both), both);
  await first.add([ALICE.key]);
  assert.equal((await Deno.stat(folder.file("revoked-keys"))).mode! & 0o777, 0o600);
  const second = RevokedKeys.open(folder.path);
  for (const keys of [first, second]) {
    const left = keys.without(both);
    assert.deepEqual(left.clients.map(({ name }) => name), ["bob"]);
    assert.deepEqual([...left.keys.byKey.values()].map(({ name }) => name), ["bob"]);
    assert.deepEqual([...left.keys.byHint.values()].flat().map(({ name }) => name), ["bob"]);
    assert.deepEqual(left.guardedPorts, both.guardedPorts, "its ports stay closed");
  }
  // Only what the files say counts: a look at another configuration changes nothing.
  second.without(configOf("bob"));
  await second.forgetGone(both);
  assert.equal(second.has(ALICE.key), true);
  await second.forgetGone(configOf("bob"));
  assert.equal(second.has(ALICE.key), false);
  assert.equal(RevokedKeys.open(folder.path).without(both).clients.length, 2);
});

Deno.test("a client whose earlier key was revoked has neither", async () => {
  await using folder = await Folder.create();
  const until = new Date(Date.now() + 86_400_000).toISOString();
  const text = serverYaml({
    rest: `clients:
  alice:
    ed25519_pubkey: ${OTHER_PUBLIC}
    previous_pubkey: ${ALICE_PUBLIC}
    previous_until: ${until}
    allowed_ports: [22/tcp]`,
  });
  const config = parseServerConfig(text, "server.yaml");
  assert.equal(config.keys.byKey.size, 2);
  const keys = RevokedKeys.open(folder.path);
  await keys.add([...config.keys.byKey.keys()]);
  const left = keys.without(config);
  assert.deepEqual([left.clients.length, left.keys.byKey.size], [0, 0]);
});

Deno.test("a file of revoked keys that is damaged lets serve not begin", async () => {
  await using folder = await Folder.create();
  await folder.write("revoked-keys", `${ALICE.key}\nsomething else\n`);
  assert.throws(() => RevokedKeys.open(folder.path), { code: "STATE", message: /a key in hex/ });
});

Deno.test("of keys that are revoked at once none is lost on disk", async () => {
  await using folder = await Folder.create();
  const keys = RevokedKeys.open(folder.path);
  const all = Array.from({ length: 20 }, (_, i) => i.toString(16).padStart(64, "0"));
  await Promise.all(all.map((key) => keys.add([key])));
  const stored = RevokedKeys.open(folder.path);
  assert.deepEqual(all.filter((key) => !stored.has(key)), []);
});
