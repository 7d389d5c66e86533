/** The passphrase of a backup: as it is typed, from a file, from the environment; and for age. */

import assert from "node:assert/strict";
import { unpackTar } from "../../lib/backup/tar.ts";
import { HiddenLine } from "../../lib/cli/passphrase.ts";
import { VERSION } from "../../lib/values/version.ts";
import { testWith } from "../support/programs.ts";
import { ENV, PASSPHRASE, PERSON, run, server } from "./backup_site.ts";
import { failure, openme } from "./program.ts";
import { answering, onTerminal } from "./terminal.ts";

function typed(text: string): HiddenLine {
  const line = new HiddenLine();
  for (const byte of new TextEncoder().encode(text)) line.take(byte);
  return line;
}

Deno.test("a typed passphrase ends with Enter, and can be corrected", () => {
  const rows: [keys: string, passphrase: string][] = [
    ["five random words\n", "five random words"],
    ["pass\r", "pass"],
    ["pasz\x7fs\r", "pass"],
    ["zo\u00eb\u{1f511}\x08\x7f\u00eb\r", "zo\u00eb"],
    ["\x7f\x7fx\r", "x"],
    ["wrong\x15right\r", "right"],
    ["first\rsecond\r", "first"],
  ];
  for (const [keys, passphrase] of rows) {
    const line = typed(keys);
    assert.ok(line.isDone);
    assert.equal(line.text(), passphrase, JSON.stringify(keys));
  }
  assert.ok(!typed("unfinished").isDone);
});

Deno.test("what ends without a passphrase changes nothing, and a key that types nothing is told", () => {
  for (const keys of ["\r", "half\x03", "half\x04", "half"]) {
    assert.throws(() => typed(keys).text(), /no passphrase was given, and nothing has changed/);
  }
  assert.throws(() => typed("up\x1b[A\r").text(), /cannot be typed again/);
});

Deno.test("a passphrase comes from a file or standard input, and a backup is not made with a bad one", async () => {
  await using folder = await server();
  const { OPENME_PASSPHRASE: _, ...env } = ENV;
  const tryIt = (args: string[], more: Record<string, string> = {}) =>
    openme(["backup", "vps.age", "--config", "etc/config.yaml", ...args], {
      cwd: folder.path,
      env: { ...env, ...more },
    });
  const noTerminal = failure(
    2,
    "cannot ask for the passphrase: standard input is no terminal",
    "give it with --passphrase-file FILE or in OPENME_PASSPHRASE",
  );
  assert.deepEqual(await tryIt([]), noTerminal);
  await folder.write("long", "five random words\n");
  await folder.write("open", "five random words\n", 0o644);
  await folder.write("two", "five random\nwords\n");
  const ofFile = (name: string) => ["--passphrase-file", name];
  assert.deepEqual(
    await tryIt(ofFile("two")),
    failure(2, '"two": expected a passphrase on one line, got several lines'),
  );
  assert.deepEqual(
    await tryIt([], { OPENME_PASSPHRASE: "" }),
    failure(2, "OPENME_PASSPHRASE: expected a passphrase on one line, got nothing"),
  );
  assert.match((await tryIt(ofFile("open"))).stderr, /expected a mode such as 0600 or 0640/);
  const short = await tryIt([], { OPENME_PASSPHRASE: "secret!" });
  assert.match(short.stderr, /^openme: error: the passphrase is too short: expected 8 characters/);
  assert.ok(!(await folder.names()).includes("vps.age"));
  assert.equal((await tryIt(ofFile("long"))).code, 0);
  const list = await openme(["restore", "--list", "vps.age", ...ofFile("-")], {
    cwd: folder.path,
    env,
    through: ["sh", "-c", '"$@" < long', "sh"],
  });
  assert.equal(list.code, 0, list.stderr);
  assert.deepEqual(
    await run(folder, "backup", "vps.age"),
    failure(1, 'cannot write "vps.age": it exists already', "choose another name, or remove it"),
  );
});

testWith(
  ["script"],
  "on a terminal the passphrase is asked for, twice, and not shown",
  async () => {
    await using folder = await server();
    const { OPENME_PASSPHRASE: _, ...env } = ENV;
    const type = (args: string[], ...answers: string[]) =>
      answering([...args, "--config", "etc/config.yaml"], { cwd: folder.path, env, answers });
    const asked = "Passphrase for the backup: \nThe same again: \n";
    const differ = await type(["backup", "vps.age"], `${PASSPHRASE}\r`, "another one\r");
    assert.equal(differ.code, 2);
    assert.ok(differ.shown.startsWith(`${asked}openme: error: the two passphrases differ\n`));
    const stopped = await type(["backup", "vps.age"], "five\x03");
    assert.match(
      stopped.shown,
      /\nopenme: error: no passphrase was given, and nothing has changed\n/,
    );
    assert.ok(!(await folder.names()).includes("vps.age"));
    const made = await type(["backup", "vps.age"], `${PASSPHRASE}\r`, `${PASSPHRASE}\r`);
    assert.equal(made.code, 0, made.shown);
    assert.ok(made.shown.startsWith(`${asked}FILE `));
    const list = await type(["restore", "--list", "vps.age"], `${PASSPHRASE}\r`);
    assert.match(list.shown, /^Passphrase of the backup: \nFILE /);
  },
);

testWith(["age", "script"], "age opens a backup, and tar lists it", async () => {
  await using folder = await server();
  assert.equal((await run(folder, "backup", "vps.age")).code, 0);
  const opened = await onTerminal("age --decrypt -o vps.tar vps.age", {
    cwd: folder.path,
    env: ENV,
    answers: [`${PASSPHRASE}\r`],
  });
  assert.equal(opened.code, 0, opened.shown);
  const files = unpackTar(await Deno.readFile(folder.file("vps.tar")))!;
  assert.deepEqual(files.map(({ name }) => name), [
    "backup.json",
    "config.yaml",
    "clients.d/bob.yaml",
  ]);
  const text = (at: number) => new TextDecoder().decode(files[at]!.content);
  assert.deepEqual([JSON.parse(text(0))["made_by"], text(2)], [VERSION, PERSON]);
  assert.equal(text(1), await folder.read("etc/config.yaml"));
});
