/** Profiles in all forms that a client reads, odd ones included, and `openme profiles`. */

import assert from "node:assert/strict";
import { ALICE_PRIVATE, profilesYaml, SERVER_PUBLIC } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { bareEnvironment, commandLine, failure, freeUdpPort, openme } from "./program.ts";

const CLIENT = ["--client-config", "client.yaml"];

/** A text as PowerShell's `>` writes it. */
function utf16(text: string, littleEndian: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(2 * text.length + 2));
  [..."\ufeff" + text].forEach((character, i) =>
    view.setUint16(2 * i, character.charCodeAt(0), littleEndian)
  );
  return new Uint8Array(view.buffer);
}

async function feed(args: readonly string[], input: Uint8Array, cwd: string) {
  const [file, ...rest] = commandLine(args);
  const child = new Deno.Command(file!, {
    args: rest,
    cwd,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(input);
  await writer.close();
  const { code, stderr } = await child.output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("a profile in UTF-16 with a byte order mark is read, from a file and from standard input", async () => {
  for (const littleEndian of [true, false]) {
    await using folder = await Folder.create();
    const bytes = utf16(profilesYaml({ home: {} }).replaceAll("\n", "\r\n"), littleEndian);
    await folder.write("laptop.yaml", bytes);
    const imported = await openme(["import", "laptop.yaml", ...CLIENT], { cwd: folder.path });
    assert.equal(imported.code, 0, imported.stderr);
    const fed = await feed(["import", "-", "--as", "other", ...CLIENT], bytes, folder.path);
    assert.equal(fed.code, 0, fed.stderr);
    await folder.write("client.yaml", bytes);
    const { code, stderr } = await openme(["knock", ...CLIENT], { cwd: folder.path });
    assert.equal(code, 0, stderr);
  }
});

Deno.test("white space inside a key is ignored", async () => {
  await using folder = await Folder.create();
  const broken = ALICE_PRIVATE.slice(0, 40) + " \\n  " + ALICE_PRIVATE.slice(40);
  const text = profilesYaml({ home: { port: freeUdpPort() } })
    .replace(ALICE_PRIVATE, `"${broken}"`)
    .replace(SERVER_PUBLIC, `"${SERVER_PUBLIC.slice(0, 20)} ${SERVER_PUBLIC.slice(20)}"`);
  await folder.write("client.yaml", text);
  const { code, stderr } = await openme(["knock", ...CLIENT], { cwd: folder.path });
  assert.equal(code, 0, stderr);
});

Deno.test("a profile that was squeezed into one line says so, wherever it is read", async () => {
  await using folder = await Folder.create();
  const line = profilesYaml({ home: {} }).replaceAll(/\s+/g, " ");
  await folder.write("client.yaml", line);
  const hint =
    "hand it on with its line breaks, or in a form that is one line anyway: openme add NAME --link";
  const what = "the file: its line breaks are gone: the whole profile is in one line";
  for (const args of [["knock", ...CLIENT], ["import", "client.yaml", "--client-config", "new"]]) {
    assert.deepEqual(
      await openme(args, { cwd: folder.path }),
      failure(1, `cannot load "client.yaml": ${what}`, hint),
    );
  }
  const env = await bareEnvironment({ OPENME_PROFILE: line });
  assert.deepEqual(
    await openme(["knock"], { env }),
    failure(1, `cannot load "$OPENME_PROFILE": ${what}`, hint),
  );
});

Deno.test("the error for an unknown profile names it once", async () => {
  await using folder = await Folder.create();
  await folder.write("client.yaml", profilesYaml({ home: {} }));
  assert.deepEqual(
    await openme(["knock", "hmoe", ...CLIENT], { cwd: folder.path }),
    failure(
      1,
      'cannot load "client.yaml": profiles: there is no profile "hmoe"; there is home',
      'did you mean "home"?',
    ),
  );
});

Deno.test("server_host takes an internationalised name, an address in brackets and one with its zone", async () => {
  await using folder = await Folder.create();
  const port = freeUdpPort();
  const rows: [host: string, dialled: string][] = [
    ["[::1]", "::1"],
    ["::1", "::1"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["例え.テスト", "xn--r8jz45g.xn--zckzah"],
    ["fe80::1%eth0", "fe80::1%eth0"],
    ["[fe80::1%eth0]", "fe80::1%eth0"],
  ];
  await folder.write(
    "client.yaml",
    profilesYaml(Object.fromEntries(rows.map(([host], i) => [`p${i}`, { host, port }]))),
  );
  const { stdout } = await openme(["profiles", "--json", ...CLIENT], { cwd: folder.path });
  assert.deepEqual(JSON.parse(stdout), {
    profiles: rows.map(([, host], i) => ({ profile: `p${i}`, host })),
  });
  for (
    const host of ["::1%lo", "box.example:22", "[::1]:22", "bücher.example/x", "a b", "bü cher"]
  ) {
    await folder.write("client.yaml", profilesYaml({ home: { host, port } }));
    const { code, stderr } = await openme(["knock", ...CLIENT], { cwd: folder.path });
    assert.equal(code, 1, host);
    assert.match(stderr, /server_host: expected a host name or an address/);
  }
});

Deno.test("openme profiles lists, renames and removes, and leaves all else as it is", async () => {
  await using folder = await Folder.create();
  const text = "# mine\n" + profilesYaml({ home: { host: "home.example" }, work: {} });
  await folder.write("client.yaml", text);
  const run = (...args: string[]) => openme(["profiles", ...args, ...CLIENT], { cwd: folder.path });
  assert.deepEqual(await run(), {
    code: 0,
    stdout: "PROFILE  HOST\nhome     home.example\nwork     127.0.0.1\n",
    stderr: "",
  });
  assert.deepEqual(await run("rename", "home", "away"), {
    code: 0,
    stdout: "",
    stderr: "openme: renamed home to away in client.yaml\n",
  });
  assert.equal(await folder.read("client.yaml"), text.replace("  home:", "  away:"));
  const removed = await run("remove", "work", "--json");
  assert.deepEqual(JSON.parse(removed.stdout), {
    profiles: [{ profile: "away", host: "home.example" }],
  });
  assert.equal(await folder.mode("client.yaml"), 0o600);
  assert.match(await folder.read("client.yaml"), /^# mine\nprofiles:\n {2}away:\n/);
  assert.equal((await run("remove", "away")).code, 0);
  assert.equal((await run("--json")).stdout, '{\n  "profiles": []\n}\n');

  await folder.write("client.yaml", text);
  const rows: [args: string[], code: number, error: RegExp][] = [
    [["rename", "hmoe", "x"], 1, /there is no profile "hmoe"/],
    [["rename", "home", "work"], 1, /there is a profile "work" already/],
    [["rename", "home", "no good"], 2, /expected a profile name/],
    [["remove"], 2, /expected nothing, rename OLD NEW, or remove NAME/],
    [["list"], 2, /expected nothing, rename OLD NEW, or remove NAME/],
  ];
  for (const [args, code, error] of rows) {
    const result = await run(...args);
    assert.equal(result.code, code, args.join(" "));
    assert.match(result.stderr, error);
  }
  const full = await openme(["profiles", "remove", "home", "--json", ...CLIENT], {
    cwd: folder.path,
    through: ["sh", "-c", 'exec "$@" > /dev/full', "sh"],
  });
  assert.equal(full.code, 1);
  assert.equal(await folder.read("client.yaml"), text);
});

Deno.test("where there are profiles and no server's configuration, a server's command says so", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file(".openme"));
  await folder.write(".openme/config.yaml", profilesYaml({ home: {} }));
  const env = await bareEnvironment({ HOME: folder.path });
  const missing = ["--config", folder.file("none.yaml")];
  for (const command of ["list", "sessions", "history", "check", "plan", "confirm"]) {
    const { code, stderr } = await openme([command, ...missing], { env });
    assert.equal(code, 1, command);
    assert.match(stderr, /^openme: hint: this machine looks like a client: /m, command);
  }
  const doctor = await openme(["doctor", "--server", ...missing], { env });
  assert.match(doctor.stdout, /this machine looks like a client/);
  const bare = await openme(["list", ...missing], {
    env: await bareEnvironment({ HOME: "/nowhere" }),
  });
  assert.match(bare.stderr, /^openme: hint: make one: openme init/m);
});

Deno.test("openme version says what --version says", async () => {
  assert.deepEqual(await openme(["version"]), await openme(["--version"]));
});

Deno.test("a profile of several hosts is imported, listed and renamed with all of them", async () => {
  await using folder = await Folder.create();
  const one = profilesYaml({ prod: { host: "PLACE" } });
  const yaml = one.replace(/"?PLACE"?/, '["a.example", b.example]');
  await folder.write("prod.yaml", yaml);
  const inFolder = { cwd: folder.path };
  const hosts = ["a.example", "b.example"];
  const imported = await openme(["import", "prod.yaml", "--json", ...CLIENT], inFolder);
  assert.equal(imported.code, 0, imported.stderr);
  assert.deepEqual(JSON.parse(imported.stdout), {
    profiles: [{ profile: "prod", host: "a.example", hosts }],
  });
  const renamed = await openme(
    ["profiles", "rename", "prod", "live", "--json", ...CLIENT],
    inFolder,
  );
  assert.deepEqual(JSON.parse(renamed.stdout), {
    profiles: [{ profile: "live", host: "a.example", hosts }],
  });
  const { stdout } = await openme(["profiles", ...CLIENT], inFolder);
  assert.match(stdout, /^live +a\.example, b\.example$/m);
});
