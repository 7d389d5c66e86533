/** `openme __complete`, and the names of profiles and clients that it gives to the completion of bash, zsh and fish. */

import assert from "node:assert/strict";
import { COMMANDS } from "../../lib/cli/catalog.ts";
import { testWith } from "../support/programs.ts";
import { ALICE_PUBLIC, profilesYaml, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { bareEnvironment, good, mapSome, openme, unprivileged } from "./program.ts";
import { inBash, inFish, inZsh, withOpenme } from "./shells.ts";

/** A home with two profiles, a server's configuration with one client, and `openme`. */
async function prepare(folder: Folder) {
  await Deno.mkdir(folder.file(".openme"));
  await folder.write(".openme/config.yaml", profilesYaml({ home: {}, work: {} }));
  await folder.write("server.yaml", serverYaml());
  return await withOpenme(folder);
}

Deno.test("openme __complete prints the names that may come next, and says no more", async () => {
  await using folder = await Folder.create();
  const env = await prepare(folder);
  const esc = String.raw`"\e]0;x\a\e[2Jevil"`;
  const good1 = profilesYaml({ fine: {} });
  await folder.write("hostile.yaml", `${good1}  ${esc}: {}\n  "$(id)": {}\n  "a\\nb": {}\n`);
  const key = `ed25519_pubkey: ${ALICE_PUBLIC}`;
  const rest = `ports:\n  ssh: [22/tcp]\nclients:\n  ${esc}:\n    ${key}\n    allowed_ports: [ssh]`;
  await folder.write("hostile-server.yaml", serverYaml({ rest }));
  await folder.write("open.yaml", profilesYaml({ home: {} }), 0o604);
  await folder.write("closed.yaml", profilesYaml({ home: {} }), 0o000);
  await folder.write("list.yaml", "profiles: [home]\n");
  await folder.write("other.yaml", "[\x1b[2J");
  const profiles = "home\nwork\n";
  const rows: [words: string, shown: string][] = [
    ["knock ", profiles],
    ["connect ", profiles],
    ["connect home ", ""],
    ["knock --ip ", ""],
    ["knock --ip 192.0.2.1 ", profiles],
    ["knock -4 ", profiles],
    ["knock -", ""],
    ["profiles ", "rename\nremove\n"],
    ["profiles remove ", profiles],
    ["profiles rename home ", ""],
    ["doctor --client ", profiles],
    ["import ", "fwknop\nknockd\n:files\n"],
    ["completion ", "bash\nzsh\nfish\n"],
    ["serve --log-format ", "logfmt\njson\n"],
    ["serve --log-format=", "--log-format=logfmt\n--log-format=json\n"],
    ["revoke --config server.yaml ", "alice\n"],
    ["--config=server.yaml revoke ", "alice\n"],
    ["--config = server.yaml revoke ", "alice\n"],
    ["--config ~/server.yaml revoke --kill ", "alice\n"],
    ["revoke alice --config server.yaml ", ""],
    ["history --config server.yaml ", ""],
    ["history --config server.yaml --client ", "alice\n"],
    ["history --config server.yaml --client =", "alice\n"],
    ["history --config server.yaml --client=a", "--client=alice\n"],
    ["knock --client-config hostile.yaml ", "fine\n"],
    ["revoke --config hostile-server.yaml ", ""],
    ...["open", "closed", "list", "other", "none"].flatMap((name): [string, string][] => [
      [`knock --client-config ${name}.yaml `, ""],
      [`revoke --config ${name}.yaml `, ""],
    ]),
    ["knock --client-config ", ":files\n"],
    ["revoke --config .", ":files\n"],
    ["nothing ", ""],
    ["constructor ", ""],
    ["constructor --", ""],
  ];
  const start = { cwd: folder.path, env, through: unprivileged() };
  const shown = await mapSome(rows, ([words]) => {
    return openme(["__complete", "--", ...words.split(" ")], start);
  });
  for (const [i, [words, stdout]] of rows.entries()) {
    // Where there is nothing else, flags are offered, each with what it means.
    const names = shown[i]!.stdout.replaceAll(/^--?[a-z0-9-]+\t[^\p{Cc}]+\n/gmu, "");
    assert.deepEqual({ ...shown[i], stdout: names }, good([], stdout), words);
  }
  const commands = Object.entries(COMMANDS).map(([name, { summary }]) => `${name}\t${summary}\n`);
  assert.deepEqual(await openme(["__complete"], start), good([], commands.join("")));
  const homeless = await openme(["__complete", "--", "knock", ""], {
    ...start,
    env: await bareEnvironment(),
  });
  assert.deepEqual({ ...homeless, stdout: "" }, good());
  assert.match(homeless.stdout, /^--ip\tlet this address in/);
});

Deno.test("no text speaks of openme __complete", async () => {
  for (const args of [["--help"], ["man"]]) {
    assert.doesNotMatch((await openme(args)).stdout, /__complete/);
  }
});

testWith(["bash"], "bash completes the names of profiles and clients", async () => {
  await using folder = await Folder.create();
  const complete = await inBash(folder, await prepare(folder));
  const config = `${folder.path}/server.yaml`;
  assert.deepEqual(await complete("openme", "knock", ""), ["home", "work"]);
  assert.deepEqual(await complete("openme", "knock", "-4", "w"), ["work"]);
  assert.deepEqual(await complete("openme", "knock", "--wa"), ["--wait"]);
  assert.deepEqual(await complete("openme", "profiles", "rem"), ["remove"]);
  assert.deepEqual(await complete("openme", "profiles", "remove", "h"), ["home"]);
  assert.deepEqual(await complete("openme", "--config", config, "revoke", ""), ["alice"]);
  assert.deepEqual(await complete("openme", "--config", "=", config, "rotate", "a"), ["alice"]);
  assert.deepEqual(await complete("openme", "history", "--config", config, "--client", ""), [
    "alice",
  ]);
  assert.deepEqual(await complete("openme", "history", "--config", config, "--client", "="), [
    "alice",
  ]);
  const nameless = await complete("openme", "revoke", "--config", "/nowhere", "");
  assert.deepEqual(nameless.filter((each) => !each.startsWith("-")), []);
});

testWith(["zsh"], "zsh completes the names of profiles and clients", async () => {
  await using folder = await Folder.create();
  const complete = await inZsh(folder, await prepare(folder));
  const config = `${folder.path}/server.yaml`;
  const becomes: [typed: string, completed: string][] = [
    ["openme knock w", "openme knock work"],
    ["openme knock -4 w", "openme knock -4 work"],
    ["openme profiles remove h", "openme profiles remove home"],
    [`openme --config ${config} revoke `, `openme --config ${config} revoke alice`],
    [`openme rename --config '${config}' a`, `openme rename --config '${config}' alice`],
    [
      `openme history --config=${config} --client `,
      `openme history --config=${config} --client alice`,
    ],
    [
      `openme history --config=${config} --client=a`,
      `openme history --config=${config} --client=alice`,
    ],
    ["openme revoke --config /nowhere a", "openme revoke --config /nowhere a"],
  ];
  for (const [typed, completed] of becomes) assert.equal((await complete(typed)).line, completed);
  const { matches } = await complete("openme knock ");
  assert.deepEqual(matches.filter(Boolean).sort(), ["home", "work"]);
});

testWith(["fish"], "fish completes the names of profiles and clients", async () => {
  await using folder = await Folder.create();
  const complete = await inFish(folder, await prepare(folder));
  const config = `${folder.path}/server.yaml`;
  assert.deepEqual(await complete("openme knock "), ["home", "work"]);
  assert.deepEqual(await complete("openme knock -4 w"), ["work"]);
  assert.deepEqual(await complete("openme profiles remove h"), ["home"]);
  assert.deepEqual(await complete(`openme --config ${config} revoke `), ["alice"]);
  assert.deepEqual(await complete(`openme history --config=${config} --client `), ["alice"]);
  assert.deepEqual(await complete(`openme history --config=${config} --client=`), [
    "--client=alice",
  ]);
  assert.deepEqual(await complete("openme revoke --config /nowhere a"), []);
});
