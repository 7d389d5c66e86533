/** `openme backup` and `openme restore`: everything in one file, and back, or nothing. */

import assert from "node:assert/strict";
import { type Backup, packBackup } from "../../lib/backup/contents.ts";
import { packTar, unpackTar } from "../../lib/backup/tar.ts";
import { takeLock } from "../../lib/state/lock.ts";
import { Folder } from "../support/folder.ts";
import { profilesYaml, serverYaml } from "../support/server_yaml.ts";
import { age, ENV, fails, floorOf, run, server, WROTE } from "./backup_site.ts";
import { failure, good, openme, unprivileged } from "./program.ts";

/** A backup of this configuration alone. */
const backupOf = (config: string): Backup => ({
  ...{ madeAtMs: Date.now(), madeBy: "1", host: undefined, people: [], config },
  ...{ state: undefined, revokedKeys: "" },
});

const CONTENTS =
  /^FILE +BYTES +WHAT\nbackup\.json .*\nconfig\.yaml .*\nclients\.d\/bob\.yaml .*\n$/;

Deno.test("a backup is one file of the owner's, and restores to the same configuration", async () => {
  await using folder = await server();
  const made = await run(folder, "backup", "vps.age");
  assert.match(made.stdout, CONTENTS);
  assert.deepEqual(made, good([WROTE], made.stdout));
  assert.equal(await folder.mode("vps.age"), 0o600);
  assert.ok(!(await folder.read("vps.age")).includes("box.example"));
  const names = await folder.names();
  assert.deepEqual(await run(folder, "restore", "--list", "vps.age"), good([], made.stdout));
  assert.deepEqual(await folder.names(), names, "a list changes nothing");

  const at = ["--config", "new/config.yaml"];
  const { code, stdout, stderr } = await run(folder, "restore", "vps.age", ...at);
  assert.deepEqual([code, stdout], [0, ""], stderr);
  assert.match(stderr, /^openme: restored new\/config\.yaml and a file of clients\.d, as of 2/);
  for (const name of ["config.yaml", "clients.d/bob.yaml"]) {
    assert.equal(await folder.read(`new/${name}`), await folder.read(`etc/${name}`));
    assert.equal(await folder.mode(`new/${name}`), await folder.mode(`etc/${name}`));
  }
  const found = await openme(["check", ...at], { cwd: folder.path, env: ENV });
  assert.equal(found.code, 0, found.stderr);
  const left = [...Deno.readDirSync(folder.file("new"))].map(({ name }) => name).sort();
  assert.deepEqual(left, ["clients.d", "config.yaml"]);
  const people = [...Deno.readDirSync(folder.file("new/clients.d"))].map(({ name }) => name);
  assert.deepEqual(people, ["bob.yaml"]);
  const floorAt = Date.parse(/knocks dated up to (\S+) are refused/.exec(stderr)![1]!);
  assert.ok(floorAt > Date.now() && floorAt <= Date.now() + 10_000, "now and a replay_window");
  assert.equal(await floorOf(folder), BigInt(floorAt) * 1_000_000n);
});

Deno.test("keys that were revoked for the fleet stay revoked, those of the backup and those from after it", async () => {
  await using folder = await server();
  const [before, after] = ["a", "b"].map((digit) => `${digit.repeat(64)}\n`) as [string, string];
  await Deno.mkdir(folder.file("state"), { mode: 0o700 });
  await folder.write("state/revoked-keys", before);
  const made = await run(folder, "backup", "vps.age");
  assert.match(made.stdout, /^revoked-keys +65 +keys that were revoked for the whole fleet$/m);
  await Deno.remove(folder.file("state"), { recursive: true });
  const restore = ["restore", "vps.age", "--force"];
  assert.equal((await run(folder, ...restore)).code, 0);
  assert.equal(await folder.read("state/revoked-keys"), before);
  assert.equal(await folder.mode("state/revoked-keys"), 0o600);
  await folder.write("state/revoked-keys", after);
  assert.equal((await run(folder, ...restore)).code, 0);
  assert.equal(await folder.read("state/revoked-keys"), after + before);

  await folder.write("state/revoked-keys", "no key\n");
  const damaged = /^openme: error: "\S+revoked-keys" expected a key in hex on each line\n/;
  for (const args of [["backup", "other.age"], restore]) {
    const { code, stderr } = await run(folder, ...args);
    assert.equal(code, 1);
    assert.match(stderr, damaged);
  }
});

Deno.test("restore --force keeps what was there beside the backup's", async () => {
  await using folder = await server();
  assert.equal((await run(folder, "backup", "vps.age")).code, 0);
  await folder.write("etc/config.yaml", serverYaml({ server: ["udp_port: 1"] }), 0o640);
  await folder.write("etc/clients.d/carol.yaml", "clients: {}\n");
  await fails(
    folder,
    ["restore", "vps.age"],
    'there is a configuration already: "etc/config.yaml"',
    "openme restore --force puts the backup in its place; the old one is kept beside it",
  );
  const { code, stdout, stderr } = await run(folder, "restore", "vps.age", "--force", "--json");
  assert.equal(code, 0, stderr);
  const { kept } = JSON.parse(stdout);
  assert.equal(kept.length, 2);
  assert.match(kept[0], /^etc\/config\.yaml\.old-\d{8}T\d{6}Z-[0-9a-f]{4}$/);
  assert.match(kept[1], /^etc\/clients\.d\.old-\d{8}T\d{6}Z-[0-9a-f]{4}$/);
  assert.match(await folder.read(kept[0]), /udp_port: 1\n/);
  assert.equal(await folder.read(`${kept[1]}/carol.yaml`), "clients: {}\n");
  assert.doesNotMatch(await folder.read("etc/config.yaml"), /udp_port/);
  assert.equal(await folder.mode("etc/config.yaml"), 0o640, "as that of the old one");
});

Deno.test("nothing changes where the file, the passphrase or the place is wrong", async () => {
  await using folder = await server();
  const config = serverYaml({ server: [`state_dir: ${folder.file("state")}`] });
  const packed = (config: string, madeAtMs = Date.now(), revokedKeys = "") =>
    packBackup({ ...backupOf(config), madeAtMs, revokedKeys });
  const bytes = await age(packed(config));
  await folder.write("vps.age", bytes);
  const archive = packed("server: {}\n");
  const newer = unpackTar(archive)!.map((file) => ({
    ...file,
    content: new TextEncoder().encode(
      new TextDecoder().decode(file.content).replace('"format": 1', '"format": 2'),
    ),
  }));
  const future = Date.now() + 86_400_000;
  const damaged = [": it is damaged: cut off, or changed", "take another copy of it"] as const;
  const none = "expected a file that openme backup has made";
  const rows: [Uint8Array, error: string | RegExp, hint?: string][] = [
    [bytes.slice(0, -1), ...damaged],
    [bytes.slice(0, 300), ...damaged],
    [bytes.slice(0, 10), ...damaged],
    [bytes.with(bytes.length - 1000, bytes.at(-1000)! ^ 1), ...damaged],
    [new Uint8Array(), ...damaged],
    [new TextEncoder().encode(serverYaml()), ": it is no backup", none],
    [
      new TextEncoder().encode("age-encryption.org/v1\n-> X25519 abc\n"),
      ": it is encrypted to a key, not with a passphrase",
    ],
    [await age(new TextEncoder().encode("x")), ": it is no backup of openme"],
    [await age(packTar([], 0)), ": it is no backup of openme"],
    [
      await age(packTar(newer, 0)),
      ": a newer openme made it",
      "restore it with that version, or a later one",
    ],
    [
      await age(packTar([...unpackTar(archive)!, { ...newer[0]!, name: "../x" }], 0)),
      ": it holds a file that no backup has",
    ],
    [
      await age(packed(config, Date.now(), "no key\n")),
      ": revoked-keys: expected a key in hex on each line",
    ],
    [await age(archive), /: config\.yaml": server\.private_key: /],
    [await age(packed(serverYaml(), future)), /: it is dated \S+, and the clock of this machine /],
  ];
  await Deno.mkdir(folder.file("new"));
  const before = await folder.names();
  for (const [at, [bytes, error, hint]] of rows.entries()) {
    await folder.write("bad.age", bytes);
    const result = await run(folder, "restore", "bad.age", "--config", "new/config.yaml");
    if (typeof error === "string") {
      assert.deepEqual(result, failure(1, `cannot read "bad.age"${error}`, hint), `row ${at}`);
    } else {
      assert.equal(result.code, 1);
      assert.match(result.stderr, error);
    }
    await Deno.remove(folder.file("bad.age"));
    assert.deepEqual(await folder.names(), before);
    assert.deepEqual([...Deno.readDirSync(folder.file("new"))], [], `row ${at}`);
  }
  const wrong = await openme(["restore", "vps.age", "--config", "new/config.yaml"], {
    cwd: folder.path,
    env: { ...ENV, OPENME_PASSPHRASE: "six random words" },
  });
  const hint = "or the start of the file was changed";
  assert.deepEqual(wrong, failure(1, 'cannot read "vps.age": the passphrase is wrong', hint));

  await folder.write("file", "");
  const below = await run(folder, "restore", "vps.age", "--config", "file/config.yaml");
  assert.match(below.stderr, /^openme: error: cannot write "file\/config\.yaml": /);
  await Deno.mkdir(folder.file("locked"), { mode: 0o555 });
  const locked = ["restore", "vps.age", "--config", "locked/etc/config.yaml"];
  assert.deepEqual(
    await openme(locked, { cwd: folder.path, env: ENV, through: unprivileged() }),
    failure(
      1,
      'cannot write "locked/etc/config.yaml": permission denied',
      "run it as the file's owner, or with sudo",
    ),
  );
});

Deno.test("restore refuses while a server runs, with the new state directory or the present one", async () => {
  await using folder = await server();
  const config = serverYaml({ server: [`state_dir: ${folder.file("other")}`] });
  const backup = backupOf(config);
  await folder.write("vps.age", await age(packBackup(backup)));
  for (const name of ["other", "state"]) {
    await Deno.mkdir(folder.file(name), { mode: 0o700 });
    const lock = takeLock(folder.file(name));
    await fails(
      folder,
      ["restore", "vps.age", "--force"],
      `another openme serve is running with the state directory "${folder.file(name)}"`,
      "stop it first, and start it again afterwards: docs/living.md",
    );
    lock.release();
  }
  assert.match(await folder.read("etc/config.yaml"), /replay_window: 10s/);
});

Deno.test("a state that is no state, and a full disk, leave everything as it was", async () => {
  await using folder = await server();
  const config = serverYaml({ server: [`state_dir: ${folder.file("state")}`] });
  const backup = backupOf(config);
  await folder.write("vps.age", await age(packBackup({ ...backup, state: '{"history": [{}]}' })));
  const restore = ["restore", "vps.age", "--config", "new/config.yaml"];
  const { code, stderr } = await run(folder, ...restore);
  assert.equal(code, 1);
  assert.match(stderr, /^openme: error: cannot write the state into "\S+": \S/);
  assert.deepEqual([...Deno.readDirSync(folder.file("new"))], []);

  await folder.write("vps.age", await age(packBackup(backup)));
  const enter = Deno.uid() === 0 ? ["unshare", "-m"] : ["unshare", "-Urm"];
  const onFull = async (...args: string[]) => {
    await Deno.mkdir(folder.file("full"), { recursive: true });
    const fill = "mount -t tmpfs -o size=16k,mode=0700 tmpfs full || exit 77\n" +
      'dd if=/dev/zero of=full/filler bs=4k status=none 2>&-\n"$@"\ncode=$?\n' +
      '[ "$(ls full | grep -v "^lock$")" = filler ] || { ls full >&2; exit 78; }\nexit $code';
    return await openme(["--config", "etc/config.yaml", ...args], {
      cwd: folder.path,
      env: ENV,
      through: [...enter, "sh", "-c", fill, "sh"],
    });
  };
  const space = "free some space there, and try again";
  for (const args of [["backup"], ["restore", "vps.age", "--config"]]) {
    const file = `full/${args[0]}`;
    assert.deepEqual(
      await onFull(...args, file),
      failure(1, `cannot write "${file}": the disk is full`, space),
    );
  }
  const state = await onFull(...restore, "--state-dir", "full");
  assert.equal(state.code, 1);
  assert.match(state.stderr, /^openme: error: cannot write the state into "full": .*full/);
  assert.match(state.stderr, /\nopenme: hint: free some space there/);
  assert.deepEqual([...Deno.readDirSync(folder.file("new"))], []);
});

Deno.test("a machine that is only a client is told so", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file(".openme"));
  await folder.write(".openme/config.yaml", profilesYaml({ home: {} }));
  const env = { ...ENV, HOME: folder.path };
  const { code, stderr } = await openme(["backup", "x.age", "--config", "none.yaml"], {
    cwd: folder.path,
    env,
  });
  assert.equal(code, 1);
  assert.match(stderr, /this machine looks like a client/);
});
