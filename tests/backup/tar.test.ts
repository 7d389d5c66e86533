/** The container of a backup: deterministic, read by tar, and nothing but what openme made is taken. */

import assert from "node:assert/strict";
import { packTar, type TarFile, unpackTar } from "../../lib/backup/tar.ts";
import { Folder } from "../support/folder.ts";
import { runToEnd } from "../e2e/lab.ts";

const file = (name: string, text: string, mode = 0o600): TarFile => ({
  name,
  mode,
  content: new TextEncoder().encode(text),
});

const FILES = [
  file("backup.json", "{}\n"),
  file("empty", ""),
  file("clients.d/zoë.yaml", "x".repeat(512), 0o644),
  file("n".repeat(100), "y".repeat(513)),
];
const AT = 1_764_500_000;

Deno.test("the same files give the same archive, and come back out of it", () => {
  const archive = packTar(FILES, AT);
  assert.deepEqual(packTar(FILES, AT), archive);
  assert.deepEqual(unpackTar(archive), FILES);
  assert.deepEqual(unpackTar(packTar([], AT)), []);
});

Deno.test("tar lists and unpacks the archive", async () => {
  await using folder = await Folder.create();
  await folder.write("a.tar", packTar(FILES, AT));
  const list = await runToEnd("tar", ["-tf", folder.file("a.tar"), "--quoting-style=literal"]);
  assert.deepEqual(list.stdout.trim().split("\n"), FILES.map(({ name }) => name), list.stderr);
  await Deno.mkdir(folder.file("out"));
  const { code, stderr } = await runToEnd("tar", [
    "-xf",
    folder.file("a.tar"),
    "-C",
    folder.file("out"),
  ]);
  assert.deepEqual([code, stderr], [0, ""]);
  for (const { name, content, mode } of FILES) {
    assert.deepEqual(await Deno.readFile(folder.file(`out/${name}`)), content, name);
    assert.equal(await folder.mode(`out/${name}`), mode);
    assert.equal((await Deno.stat(folder.file(`out/${name}`))).mtime!.getTime(), AT * 1000);
  }
});

Deno.test("an archive that was cut or changed anywhere in a header is refused", () => {
  const archive = packTar(FILES, AT);
  for (let length = 0; length < archive.length - 512; length += 256) {
    assert.equal(unpackTar(archive.slice(0, length)), undefined, `${length} bytes`);
  }
  for (let at = 0; at < 512; at++) {
    const changed = archive.slice();
    changed[at]! ^= 1;
    const isPadding = at >= 155 && at < 156; // the end of the checksum itself
    if (!isPadding) assert.equal(unpackTar(changed), undefined, `byte ${at}`);
  }
});

Deno.test("a name that has no room is refused, and says so", () => {
  assert.throws(() => packTar([file("n".repeat(101), "")], AT), /its name is too long/);
});
