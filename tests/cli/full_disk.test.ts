/** A full disk: every command that writes names the file and what is wrong, and changes nothing. */

import assert from "node:assert/strict";
import { profilesYaml, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { openme } from "./program.ts";

/** A file system of its own on a folder, full but for the files that are given. */
const FULL = `mount -t tmpfs -o size=64k,mode=0700 tmpfs disk || exit 77
cp server.yaml profiles.yaml new.yaml disk/ && cd disk || exit 78
dd if=/dev/zero of=filler bs=4k status=none 2>/dev/null
"$@"
code=$?
cmp -s server.yaml ../server.yaml && cmp -s profiles.yaml ../profiles.yaml || exit 79
[ "$(ls)" = "filler
new.yaml
profiles.yaml
server.yaml" ] || { ls >&2; exit 80; }
exit $code`;

Deno.test("on a full disk a command names the file that it could not write", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file("disk"));
  await folder.write("server.yaml", serverYaml());
  await folder.write("profiles.yaml", profilesYaml({ home: {} }));
  await folder.write("new.yaml", profilesYaml({ other: {} }));
  const server = ["--config", "server.yaml"];
  const client = ["--client-config", "profiles.yaml"];
  const rows: [file: string, args: string[]][] = [
    ["server.yaml", ["add", "bob", ...server]],
    ["bob.yaml", ["add", "bob", "--out", "bob.yaml", ...server]],
    ["bob.png", ["add", "bob", "--qr-out", "bob.png", ...server]],
    ["server.yaml", ["revoke", "alice", ...server]],
    ["server.yaml", ["rotate", "alice", ...server]],
    ["server.yaml", ["rotate", "--server", ...server]],
    ["server.yaml", ["rename", "alice", "al", ...server]],
    ["other.yaml", ["init", "--server", "box.example", "--config", "other.yaml"]],
    ["my.key", ["keygen", "--out", "my.key"]],
    ["profiles.yaml", ["import", "new.yaml", ...client]],
  ];
  const enter = Deno.uid() === 0 ? ["unshare", "-m"] : ["unshare", "-Urm"];
  for (const [file, args] of rows) {
    const { code, stderr } = await openme(args, {
      cwd: folder.path,
      through: [...enter, "sh", "-c", FULL, "sh"],
    });
    const why = `openme ${args.join(" ")}: ${stderr}`;
    assert.equal(code, 1, why);
    assert.ok(stderr.startsWith(`openme: error: cannot write "${file}": the disk is full\n`), why);
    assert.match(stderr, /\nopenme: hint: free some space there, and try again\n$/, why);
  }
});

Deno.test("keygen leaves no key file whose public half could not be printed", async () => {
  await using folder = await Folder.create();
  const { code, stderr } = await openme(["keygen", "--out", "my.key"], {
    cwd: folder.path,
    through: ["sh", "-c", 'exec "$@" > /dev/full', "sh"],
  });
  assert.equal(code, 1);
  assert.match(stderr, /^openme: error: cannot write standard output: the disk is full\n/);
  assert.deepEqual(await folder.names(), []);
});
