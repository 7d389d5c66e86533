/** Standard output on a full disk: a change is undone, and reported as failed. */

import assert from "node:assert/strict";
import { ALICE_PUBLIC, profilesYaml, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { openme } from "./program.ts";

const into = (target: string) => ["sh", "-c", `exec "$@" ${target}`, "sh"];

const FWKNOP = `SOURCE ANY
OPEN_PORTS tcp/22
KEY_BASE64 AAAA
`;

/** Everything in a folder, to be compared. */
async function contents(folder: Folder): Promise<Record<string, string>> {
  const names = await folder.names();
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await folder.read(name)])),
  );
}

async function prepared(): Promise<Folder> {
  const folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  await folder.write("client.yaml", profilesYaml({ home: {} }));
  await folder.write("away.yaml", profilesYaml({ away: {} }));
  await folder.write("access.conf", FWKNOP);
  return folder;
}

const CONFIGS = ["--config", "server.yaml", "--client-config", "client.yaml"];

const CHANGING: readonly { readonly args: string[]; readonly ofKey?: true }[] = [
  { args: ["add", "bob"] },
  { args: ["add", "bob", "--link"] },
  { args: ["add", "bob", "--link", "--json"] },
  { args: ["add", "bob", "--qr"] },
  { args: ["add", "bob", "--json", "--out", "bob.yaml"] },
  { args: ["rotate", "alice"] },
  { args: ["rotate", "--server"] },
  { args: ["rename", "alice", "carol", "--json"] },
  { args: ["keygen", "--out", "some.key"], ofKey: true },
  { args: ["import", "away.yaml", "--json"] },
  { args: ["import", "fwknop", "access.conf", "--json", "--out-dir", "."] },
];

Deno.test("what cannot be printed on a full disk is undone", async (t) => {
  for (const { args, ofKey } of CHANGING) {
    await t.step(args.join(" "), async () => {
      await using folder = await prepared();
      const before = await contents(folder);
      const result = await openme([...args, ...CONFIGS], {
        cwd: folder.path,
        through: into(">/dev/full"),
      });
      assert.equal(result.code, 1, result.stderr);
      assert.match(
        result.stderr,
        ofKey
          ? /^openme: error: cannot write standard output: the disk is full$/m
          : /^openme: error: cannot print .*; nothing has changed$/m,
      );
      assert.deepEqual(await contents(folder), before);
    });
  }
});

Deno.test("openme keygen --show prints the public half again", async () => {
  await using folder = await Folder.create();
  const client = ["--client-config", folder.file("client.yaml")];
  const made = await openme(["keygen", ...client]);
  assert.equal(made.code, 0, made.stderr);
  assert.deepEqual(await openme(["keygen", "--show", ...client]), { ...made, stderr: "" });
  const key = ["--key", folder.file("client.key")];
  assert.deepEqual(await openme(["keygen", "--show", ...key, ...client]), { ...made, stderr: "" });
  await folder.write("client.yaml", profilesYaml({ home: {}, away: {} }));
  const { stdout } = await openme(["keygen", "--show", "home", "--json", ...client]);
  assert.deepEqual(JSON.parse(stdout), { public_key: ALICE_PUBLIC, file: null });
  assert.equal((await openme(["keygen", "--show", "--out", "x", ...client])).code, 2);
  assert.equal((await openme(["keygen", "home", ...client])).code, 2);
  const again = await openme(["keygen", ...client]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /openme keygen --show/);
});
