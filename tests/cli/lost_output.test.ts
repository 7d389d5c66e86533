/** Standard output that is closed or full, and a disk that is: nothing is done by halves, and nobody is told it worked. */

import assert from "node:assert/strict";
import { ALICE_PUBLIC, profilesYaml, serverYaml } from "./fixtures.ts";
import { Folder } from "./folder.ts";
import { commandLine, openme, type Result } from "./program.ts";

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

/** Runs in a folder on a small file system that is full; prints what is left there. */
const ON_FULL_DISK = `mount -t tmpfs -o size=64k tmpfs . || exit 77
cd "$PWD" # into it: so far the shell stands below
cp "$1"/* . && chmod 600 *; shift
head -c 1M /dev/zero > filler 2>/dev/null
"$@"; code=$?
for file in *; do [ -f "$file" ] || continue; case $file in filler|*.conf) ;; *) cksum < "$file"; echo "$file";; esac; done
exit $code`;

async function onFullDisk(folder: Folder, args: readonly string[]): Promise<Result | undefined> {
  await using place = await Folder.create();
  const { code, stdout, stderr } = await new Deno.Command("unshare", {
    args: ["-rm", "sh", "-c", ON_FULL_DISK, "sh", folder.path, ...commandLine(args)],
    cwd: place.path,
    stdin: "null",
    env: { PWD: place.path },
  }).output();
  const result = {
    code,
    stdout: new TextDecoder().decode(stdout),
    stderr: new TextDecoder().decode(stderr),
  };
  const cannot = code === 77 || /^unshare: /.test(result.stderr);
  if (!cannot) return result;
  assert.notEqual(Deno.env.get("OPENME_E2E"), "require", result.stderr);
  return undefined;
}

Deno.test("a full disk is named, with the file, and nothing has changed", async (t) => {
  const rows: [args: string[], file: string][] = [
    [["add", "bob"], "server.yaml"],
    [["add", "bob", "--out", "bob.yaml"], "bob.yaml"],
    [["rotate", "alice"], "server.yaml"],
    [["rotate", "--server"], "server.yaml"],
    [["revoke", "alice"], "server.yaml"],
    [["rename", "alice", "carol"], "server.yaml"],
    [["init", "--server", "box.example", "--config", "new/config.yaml"], "new/config.yaml"],
    [["keygen", "--out", "some.key"], "some.key"],
    [["import", "away.yaml"], "client.yaml"],
  ];
  for (const [args, file] of rows) {
    await t.step(args.join(" "), async () => {
      await using folder = await prepared();
      const untouched = await onFullDisk(folder, ["--version"]);
      const own = args.includes("--config") ? [] : ["--config", "server.yaml"];
      const result = await onFullDisk(folder, [...args, ...own, "--client-config", "client.yaml"]);
      if (!result || !untouched) return;
      assert.equal(result.code, 1, result.stderr);
      assert.match(
        result.stderr,
        new RegExp(`^openme: error: cannot write "${file}": the disk is full$`, "m"),
      );
      assert.match(result.stderr, /^openme: hint: .*free some space/m);
      // What the command may leave is no file: no temporary one, and of init an empty folder at most.
      const files = (text: string) =>
        text.split("\n").filter((line) => /^\d+ |yaml|key/.test(line));
      assert.deepEqual(files(result.stdout), files(untouched.stdout));
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
