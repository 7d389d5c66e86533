/** Many clients: a file for each in `clients.d`, groups of groups, and a second `add` of the same client. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { configErrorOf } from "../config/support.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, SERVER_PRIVATE, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { failure, good, openme, type Result } from "./program.ts";

const BOB = `clients:\n  bob:\n    ed25519_pubkey: ${OTHER_PUBLIC}\n    allowed_ports: [ssh]\n`;

async function site(files: Readonly<Record<string, string>> = {}): Promise<Folder> {
  const folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  await Deno.mkdir(folder.file("clients.d"), { mode: 0o755 });
  for (const [name, text] of Object.entries(files)) {
    await folder.write(`clients.d/${name}`, text, 0o644);
  }
  return folder;
}

function run(folder: Folder, args: readonly string[]): Promise<Result> {
  return openme([...args, "--config", "server.yaml"], { cwd: folder.path });
}

async function names(folder: Folder): Promise<string[]> {
  const { code, stdout, stderr } = await run(folder, ["list", "--json"]);
  assert.equal(code, 0, stderr);
  return [...stdout.matchAll(/"(?:client|name)": "(\w+)"/g)].map(([, name]) => name!);
}

Deno.test("clients.d/*.yaml are clients too, other files in there are not", async () => {
  await using folder = await site({
    "bob.yaml": BOB,
    "README": "nothing: [",
    ".bob.yaml.swp": "nothing: [",
    "bob.yaml~": "nothing: [",
  });
  assert.deepEqual(await names(folder), ["alice", "bob"]);
  await Deno.remove(folder.file("clients.d/bob.yaml"));
  assert.deepEqual(await names(folder), ["alice"]);
  await Deno.remove(folder.file("clients.d"), { recursive: true });
  assert.deepEqual(await names(folder), ["alice"]);
});

Deno.test("a file of clients.d that is wrong is named, with what is wrong in it", async () => {
  const rows: [why: string, text: string, problem: string, hint?: string][] = [
    [
      "a port of no group",
      BOB.replace("[ssh]", "[ssh, 8080/tcp]"),
      "clients.bob.allowed_ports: expected ports of groups, got 8080/tcp, which no group has",
      "put it into a group under ports in the server's configuration: it stays closed then when this file goes",
    ],
    [
      "a name that is taken",
      BOB.replace("bob:", "alice:"),
      "clients.alice: expected a name of its own, got one that another file has",
      "every client needs its own name: rename one of the two",
    ],
    [
      "another section",
      `server: {}\n${BOB}`,
      "server: unknown key",
      "the keys here are clients",
    ],
  ];
  for (const [why, text, problem, hint] of rows) {
    await using folder = await site({ "bob.yaml": text });
    assert.deepEqual(
      await run(folder, ["check"]),
      failure(1, `cannot load "clients.d/bob.yaml": ${problem}`, hint),
      why,
    );
  }
  await using twice = await site({ "bob.yaml": BOB.replace(OTHER_PUBLIC, ALICE_PUBLIC) });
  const { stderr } = await run(twice, ["check"]);
  assert.match(
    stderr,
    /cannot load "clients\.d\/bob\.yaml": clients\.bob\.ed25519_pubkey: expected a key of its own, got the key of "alice"/,
  );
});

Deno.test("a file of clients.d that everyone can write, or that ends in .yml, is refused", async () => {
  await using folder = await site({ "bob.yaml": BOB });
  await Deno.chmod(folder.file("clients.d/bob.yaml"), 0o646);
  const refused = (path: string, mode: string) =>
    failure(
      1,
      `cannot load "${path}": everyone can write it and so let themselves in, mode ${mode}`,
      `chmod o-w ${path}, and look at what it says`,
    );
  assert.deepEqual(await run(folder, ["check"]), refused("clients.d/bob.yaml", "0646"));
  await Deno.chmod(folder.file("clients.d/bob.yaml"), 0o644);
  await Deno.chmod(folder.file("clients.d"), 0o777);
  assert.deepEqual(await run(folder, ["check"]), refused("clients.d", "0777"));
  await Deno.chmod(folder.file("clients.d"), 0o755);
  await Deno.rename(folder.file("clients.d/bob.yaml"), folder.file("clients.d/bob.yml"));
  assert.deepEqual(
    await run(folder, ["check"]),
    failure(
      1,
      `cannot load "clients.d/bob.yml": expected a name that ends in .yaml`,
      "rename it: a file that is left out in silence would lock its clients out",
    ),
  );
});

Deno.test("revoke, rename and rotate edit the file that holds the client", async () => {
  await using folder = await site({ "bob.yaml": BOB });
  const server = await folder.read("server.yaml");
  assert.deepEqual(
    await run(folder, ["rename", "bob", "robert"]),
    good(["openme: renamed bob to robert in clients.d/bob.yaml"]),
  );
  assert.equal(await folder.read("clients.d/bob.yaml"), BOB.replace("bob:", "robert:"));
  const rotated = await run(folder, ["rotate", "robert", "--grace", "0", "--out", "robert.yaml"]);
  assert.match(
    rotated.stderr,
    /robert has a new key in clients\.d\/bob\.yaml; the old one has ended/,
  );
  assert.doesNotMatch(
    await folder.read("clients.d/bob.yaml"),
    new RegExp(OTHER_PUBLIC.slice(0, 12)),
  );
  const { code, stderr } = await run(folder, ["revoke", "robert"]);
  assert.equal(code, 0);
  assert.match(
    stderr,
    /^openme: revoked robert \(key [0-9a-f]{16}\) in clients\.d\/bob\.yaml\nopenme: if another program writes that file, take the client out there too\n$/,
  );
  assert.deepEqual(await names(folder), ["alice"]);
  assert.equal(await folder.read("server.yaml"), server);
  assert.equal(await folder.mode("clients.d/bob.yaml"), 0o644);
});

Deno.test("add --pubkey of a client that is there already changes nothing and says so", async () => {
  await using folder = await site();
  const add = (...more: string[]) =>
    run(folder, ["add", "bob", "--pubkey", OTHER_PUBLIC, "--ports", "ssh", ...more]);
  const first = await add("--expires", "2100-01-01");
  assert.equal(first.code, 0, first.stderr);
  const text = await folder.read("server.yaml");
  const { ino } = await Deno.stat(folder.file("server.yaml"));
  for (const more of [[], ["--expires", "2100-01-01"], ["--expires", "90d"]]) {
    const again = await add(...more);
    assert.deepEqual(
      again,
      good(["openme: bob has this key and these ports already: nothing changed"], first.stdout),
    );
  }
  assert.equal((await Deno.stat(folder.file("server.yaml"))).ino, ino, "the file was not written");
  const other = (what: string) =>
    failure(
      1,
      `cannot add "bob": it has this key already, but with other values for ${what}`,
      "change its entry in the configuration, or openme revoke bob first",
    );
  assert.deepEqual(await add("--ports", "ssh,8080/tcp"), other("ports"));
  assert.deepEqual(
    await add("--expires", "2101-01-01", "--prefix", "v4=24"),
    other("expires, prefix"),
  );
  assert.equal(
    (await run(folder, ["add", "carol", "--pubkey", OTHER_PUBLIC, "--ports", "ssh"])).code,
    1,
    "another name for the same key",
  );
  assert.equal(await folder.read("server.yaml"), text);
});

const GROUPS = (ports: string) =>
  `server:\n  private_key: ${SERVER_PRIVATE}\nports:\n${ports}clients:\n  alice:\n    ed25519_pubkey: ${ALICE_PUBLIC}\n    allowed_ports: [ops]\n    disable_health_port: true\n`;

Deno.test("a group may name other groups, in any order", () => {
  const text = GROUPS(
    "  ops: [ssh, web, 5432/tcp]\n  ssh: [22/tcp]\n  web: {ports: [80/tcp, tls], guard: {forward: true}}\n  tls: [443/tcp]\n",
  );
  const { clients, groups, forwardedPorts } = parseServerConfig(text, "x");
  const first = (ranges: readonly { first: number }[] = []) => ranges.map((each) => each.first);
  assert.deepEqual(first(clients[0]?.ports), [22, 80, 443, 5432]);
  assert.deepEqual([...groups.keys()], ["ops", "ssh", "web", "tls"]);
  assert.deepEqual(first(forwardedPorts), [80, 443]);
});

Deno.test("a group that leads to itself is refused", async () => {
  const rows: [ports: string, message: string][] = [
    [
      "  ops: [ops]\n",
      "ports.ops[0]: expected a group that does not lead back here, got ops -> ops",
    ],
    [
      "  ops: [22/tcp, a]\n  a: [b]\n  b: [23/tcp, ops]\n",
      "ports.b[1]: expected a group that does not lead back here, got ops -> a -> b -> ops",
    ],
  ];
  for (const [ports, message] of rows) {
    const error = await configErrorOf(() => parseServerConfig(GROUPS(ports), "x"));
    assert.equal(error.message, `cannot load "x": ${message}`);
  }
});

Deno.test("ports that a client leaves behind never go into a group that leads to a client", async () => {
  await using folder = await Folder.create();
  await folder.write(
    "server.yaml",
    serverYaml({
      rest: `ports:
  ssh: [22/tcp]
  guarded: [23/tcp]
  ops: [ssh, guarded]
clients:
  alice:
    ed25519_pubkey: ${ALICE_PUBLIC}
    allowed_ports: [ops]
  bob:
    ed25519_pubkey: ${OTHER_PUBLIC}
    allowed_ports: [9000/tcp]`,
    }),
  );
  const { code, stderr } = await run(folder, ["revoke", "bob"]);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /added 9000\/tcp to the group guarded-2 /);
});
