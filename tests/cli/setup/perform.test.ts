/** The steps of `openme setup` on real files, and what its command line refuses. */

import assert from "node:assert/strict";
import { perform, performAll, type Tools } from "../../../lib/cli/setup/perform.ts";
import { UNITS } from "../../../lib/cli/setup/steps.ts";
import { OpenmeError } from "../../../lib/values/errors.ts";
import { Folder } from "../../support/folder.ts";
import { failure, good, openme } from "../program.ts";

/** Tools whose programs all fail, with what was told and run. */
function failing(): Tools & { told: string[]; ran: string[] } {
  const told: string[] = [];
  const ran: string[] = [];
  const fail = (what: string) => {
    ran.push(what);
    return Promise.reject(new OpenmeError("COMMAND", `${what} failed`));
  };
  return {
    told,
    ran,
    tell: (line) => void told.push(line),
    run: ({ program, args }) => fail([program, ...args].join(" ")),
    openme: (argv) => fail(["openme", ...argv].join(" ")),
  };
}

Deno.test("perform() tells each step before it does it, and stops where one fails", async () => {
  await using folder = await Folder.create();
  const tools = failing();
  const path = folder.file("a/b.conf");
  await assert.rejects(
    perform([
      { kind: "write", path, text: "x\n" },
      { kind: "run", argv: ["systemctl", "reset-failed", "x"], mayFail: true },
      { kind: "run", argv: ["systemctl", "start", "x"] },
      { kind: "openme", argv: ["confirm"] },
    ], tools),
    /systemctl start x failed/,
  );
  assert.equal(await folder.read("a/b.conf"), "x\n");
  assert.equal(await folder.mode("a/b.conf"), 0o644);
  assert.deepEqual(tools.told.slice(1), ["+ systemctl reset-failed x", "+ systemctl start x"]);
});

Deno.test("performAll() does every step whatever fails, tells nothing, and gives the failures", async () => {
  await using folder = await Folder.create();
  // What a process that was killed as it wrote the file has left goes as well.
  for (const name of ["config.yaml", "config.yaml.0123abcd.tmp"]) await folder.write(name, "x");
  await folder.write("config.yaml.old", "x");
  const tools = failing();
  const failures = await performAll([
    { kind: "openme", argv: ["uninstall"] },
    { kind: "run", argv: ["systemctl", "stop", "x"], mayFail: true },
    {
      kind: "remove",
      paths: [folder.file("config.yaml"), folder.file("none"), folder.file("no/ne")],
    },
  ], tools);
  assert.deepEqual(failures, ["openme uninstall failed"]);
  assert.deepEqual(await folder.names(), ["config.yaml.old"]);
  assert.deepEqual(tools.told, []);
});

Deno.test("of a state directory only openme's own goes, and folders that hold anything else stay", async () => {
  await using folder = await Folder.create();
  const state = folder.file("state");
  await Deno.mkdir(`${state}/dry-run-1`, { recursive: true });
  for (const name of ["state.db", "state.db-wal", "lock", "mine.txt"]) {
    await folder.write(`state/${name}`, "x");
  }
  const remove = () =>
    performAll([
      { kind: "remove_state", folder: state },
      { kind: "remove_folder", folder: folder.path },
    ], failing());
  assert.deepEqual(await remove(), []);
  assert.deepEqual([...Deno.readDirSync(state)].map(({ name }) => name), ["mine.txt"]);
  await Deno.remove(`${state}/mine.txt`);
  await folder.write("other", "x");
  for (let times = 0; times < 2; times++) assert.deepEqual(await remove(), []);
  assert.deepEqual(await folder.names(), ["other"]);
});

Deno.test("openme setup --units writes the units that are missing", async () => {
  await using folder = await Folder.create();
  const setup = () => openme(["setup", "--units", folder.path]);
  const [first, ...others] = UNITS;
  await folder.write(first, "mine");
  const wrote = others.map((name) => `openme: wrote ${folder.path}/${name}`);
  assert.deepEqual(await setup(), good(wrote));
  assert.equal(await folder.read(first), "mine");
  for (const name of others) {
    assert.equal(await folder.mode(name), 0o644);
    const packaged = new URL(`../../../packaging/${name}`, import.meta.url);
    assert.equal(await folder.read(name), await Deno.readTextFile(packaged));
  }
  assert.deepEqual(await setup(), good(["openme: the units are there already"]));
  const missing = `${folder.path}/none`;
  assert.deepEqual(
    await openme(["setup", "--units", missing]),
    failure(
      1,
      `cannot write "${missing}/${first}": its folder does not exist`,
      "make the folder first, or name another file",
    ),
  );
});

Deno.test("openme setup refuses what it cannot do before it looks at the host", async () => {
  assert.deepEqual(
    await openme(["setup"]),
    failure(
      2,
      "openme setup asks questions, and standard input is no terminal",
      "run it on a terminal, or with --yes, which takes the defaults",
    ),
  );
  assert.deepEqual(
    await openme(["setup", "--yes", "--config", "other.yaml"]),
    failure(
      2,
      '--config: expected /etc/openme/config.yaml, got "other.yaml"',
      "the units read that one",
    ),
  );
  const brief = await openme(["setup", "--yes", "--confirm", "1ms"]);
  assert.equal(brief.code, 2);
  assert.match(brief.stderr, /--confirm: expected a duration from 1s to 1h/);
});
