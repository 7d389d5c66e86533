/** `openme help`, the completion scripts in the shells that they are for, and the manual page in man. */

import assert from "node:assert/strict";
import { COMMANDS } from "../../lib/cli/catalog.ts";
import { flagsIn } from "../../lib/cli/arguments.ts";
import { renderOwnHelp } from "../../lib/cli/commands/help.ts";
import { testWith } from "../support/programs.ts";
import { must } from "../support/knocks.ts";
import { Folder } from "../support/folder.ts";
import { failure, openme } from "./program.ts";
import { inBash, inFish, inZsh, run, withOpenme } from "./shells.ts";

Deno.test("openme help COMMAND says what --help says, and knows what was meant", async () => {
  for (const name of ["knock", "rotate", "help"]) {
    const [long, short] = await Promise.all([openme(["help", name]), openme([name, "--help"])]);
    assert.deepEqual(long, short);
    assert.equal(long.code, 0);
  }
  assert.deepEqual(await openme(["help"]), await openme(["--help"]));
  assert.deepEqual(
    await openme(["help", "knok"]),
    failure(2, `unknown command "knok"`, "did you mean openme knock?"),
  );
  assert.deepEqual(
    await openme(["revok"]),
    failure(2, `unknown command "revok"`, "did you mean openme revoke?"),
  );
  assert.deepEqual(
    await openme(["help", "\x1b[2J"]),
    failure(2, `unknown command "\\u001b[2J"`, "see openme --help"),
  );
  assert.deepEqual(
    await openme(["completion"]),
    failure(2, "openme completion needs bash|zsh|fish", "see openme completion --help"),
  );
  assert.deepEqual(
    await openme(["completion", "tcsh"]),
    failure(
      2,
      `openme completion: expected bash, zsh or fish, got "tcsh"`,
      "openme completion bash",
    ),
  );
  assert.deepEqual(
    await openme(["man", "x"]),
    failure(2, `openme man: unexpected argument "x"`, "see openme man --help"),
  );
});

Deno.test("every parameter of every command is an argument or a flag, and has a text", async () => {
  for (const [name, { load }] of Object.entries(COMMANDS)) {
    const { parameters = {}, arguments: names = "" } = await load();
    for (const [key, text] of Object.entries(parameters)) {
      const isArgument = names.split(/[^A-Za-z]+/).includes(key);
      assert.ok(isArgument || flagsIn({ [key]: text }).size === 1, `${name}: ${key}`);
      assert.ok(text.length > 3, `${name}: ${key} has no text`);
    }
  }
});

testWith(["bash"], "openme completion bash completes commands, flags and values", async () => {
  await using folder = await Folder.create();
  const complete = await inBash(folder, await withOpenme(folder));
  assert.deepEqual(await complete("openme", "kn"), ["knock"]);
  assert.deepEqual(await complete("openme", ""), Object.keys(COMMANDS));
  assert.deepEqual((await complete("openme", "-")).slice(-3), ["--help", "-h", "--version"]);
  assert.deepEqual(await complete("openme", "--config", "x", "rot"), ["rotate"]);
  assert.deepEqual(await complete("openme", "--config", "=", "x", "rot"), ["rotate"]);
  assert.deepEqual(await complete("openme", "--config", "x", "rotate", "--fi"), ["--finish"]);
  assert.deepEqual(await complete("openme", "--log-level", "d"), ["debug"]);
  assert.deepEqual(await complete("openme", "--log-f"), ["--log-format"]);
  assert.deepEqual(await complete("openme", "rotate", "--fi"), ["--finish"]);
  assert.deepEqual(await complete("openme", "serve", "--log-level", "d"), ["debug"]);
  assert.deepEqual(await complete("openme", "completion", "z"), ["zsh"]);
  assert.deepEqual(await complete("openme", "add", "--out", ""), []);
  assert.deepEqual(await complete("openme", "nothing", ""), []);
});

testWith(["zsh"], "openme completion zsh completes commands, flags and values", async () => {
  await using folder = await Folder.create();
  const complete = await inZsh(folder, await withOpenme(folder));
  const becomes: [typed: string, completed: string][] = [
    ["openme kn", "openme knock"],
    ["openme --config x rot", "openme --config x rotate"],
    ["openme --config=x rot", "openme --config=x rotate"],
    ["openme -h rot", "openme -h rotate"],
    ["openme --log-level d", "openme --log-level debug"],
    ["openme rotate --fi", "openme rotate --finish"],
    ["openme --config x rotate --fi", "openme --config x rotate --finish"],
    ["openme rotate --config x --fi", "openme rotate --config x --finish"],
    ["openme serve --log-level d", "openme serve --log-level debug"],
    ["openme --config x completion z", "openme --config x completion zsh"],
    ["openme nothing --fi", "openme nothing --fi"],
  ];
  for (const [typed, completed] of becomes) assert.equal((await complete(typed)).line, completed);
  const { matches } = await complete("openme ");
  assert.deepEqual(matches.filter(Boolean).sort(), Object.keys(COMMANDS).sort());
  await folder.write("a profile.yaml", "");
  const typed = `openme add x --out ${folder.path}/a`;
  assert.equal((await complete(typed)).line, `${typed}\\ profile.yaml`);
});

testWith(["fish"], "openme completion fish completes commands, flags and values", async () => {
  await using folder = await Folder.create();
  const complete = await inFish(folder, await withOpenme(folder));
  assert.deepEqual(await complete("openme kn"), ["knock"]);
  assert.deepEqual((await complete("openme ")).sort(), Object.keys(COMMANDS).sort());
  assert.deepEqual(await complete("openme rotate --fi"), ["--finish"]);
  assert.deepEqual(await complete("openme serve --log-level d"), ["debug"]);
  assert.deepEqual(await complete("openme completion z"), ["zsh"]);
  assert.deepEqual(await complete("openme --config x rot"), ["rotate"]);
  assert.deepEqual(await complete("openme --config=x rot"), ["rotate"]);
  assert.deepEqual(await complete("openme --config x rotate --fi"), ["--finish"]);
  assert.deepEqual(await complete("openme --log-level d"), ["debug"]);
  assert.deepEqual(await complete("openme --log-f"), ["--log-format"]);
  await folder.write("profile.yaml", "");
  const path = folder.file("profile.yaml");
  assert.deepEqual(await complete(`openme add x --out ${folder.file("pro")}`), [path]);
  assert.deepEqual(await complete(`openme import --key=${folder.file("pro")}`), [`--key=${path}`]);
});

testWith(["man"], "openme man prints a page that man shows without a warning", async () => {
  await using folder = await Folder.create();
  const { code, stdout, stderr } = await openme(["man"]);
  assert.deepEqual([code, stderr], [0, ""]);
  const path = await folder.write("openme.1", stdout);
  const shown = must(
    await run("man", ["--warnings=w", "-l", path], { MANWIDTH: "200", LC_ALL: "C.UTF-8" }),
  );
  assert.deepEqual([shown.code, shown.stderr], [0, ""]);
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    const help = renderOwnHelp(name, await load());
    assert.ok(shown.stdout.includes(`openme ${name} - ${summary}`), name);
    for (const line of help.trim().split("\n")) {
      assert.ok(shown.stdout.includes(line.trim()), `${name}: ${line}`);
    }
  }
  assert.match(shown.stdout, /^EXIT STATUS\n(?:.*\n)* {7}3\s+knocked, but the check/m);
});
