/** `openme import fwknop` and `knockd`: groups, clients and profiles, and no change where something is wrong. */

import assert from "node:assert/strict";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import { publicKeyOf } from "../../lib/crypto/sync.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { must } from "../support/knocks.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { failure, openme, type Result } from "./program.ts";

const ACCESS_CONF = `SOURCE ANY
REQUIRE_USERNAME bob
OPEN_PORTS tcp/80,tcp/443
KEY_BASE64 c2VjcmV0
ACCESS_EXPIRE 12/31/2097
SOURCE ANY
OPEN_PORTS tcp/80,tcp/443
`;

async function site(): Promise<Folder> {
  const folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  await folder.write("access.conf", ACCESS_CONF);
  return folder;
}

function run(folder: Folder, args: readonly string[]): Promise<Result> {
  return openme(["import", ...args, "--config", "server.yaml"], { cwd: folder.path });
}

Deno.test("openme import fwknop registers every client with a key of its own", async () => {
  await using folder = await site();
  const { code, stdout, stderr } = await run(folder, ["fwknop", "access.conf", "--out-dir", "new"]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "");
  assert.equal(
    stderr,
    [
      "openme: added group tcp-80-and-1 (80/tcp, 443/tcp) to server.yaml",
      "openme: added client bob (tcp-80-and-1, until 2097-12-31T00:00:00Z): new/bob.yaml",
      "openme: added client fwknop-2 (tcp-80-and-1): new/fwknop-2.yaml",
      `openme: left out: access.conf, line 2: "REQUIRE_USERNAME": a knock of openme has no name in it: its signature tells who knocks`,
      `openme: left out: access.conf, line 4: "KEY_BASE64": openme's clients have a new key each`,
      "",
    ].join("\n"),
  );
  const { clients } = parseServerConfig(await folder.read("server.yaml"), "");
  assert.deepEqual(clients.map(({ name }) => name), ["alice", "bob", "fwknop-2"]);
  for (const { name, ports, publicKey } of clients.slice(1)) {
    assert.deepEqual(ports.map(formatPortRange), ["80/tcp", "443/tcp", "54154/tcp"]);
    assert.equal(await folder.mode(`new/${name}.yaml`), 0o600);
    const profiles = await parseClientConfig(await folder.read(`new/${name}.yaml`), name);
    assert.deepEqual(
      publicKeyOf("Ed25519", must(must(profiles.get("default")).clientSeed)),
      publicKey,
    );
  }
  // The same file again is a mistake, and changes nothing.
  const before = await folder.read("server.yaml");
  assert.deepEqual(
    await run(folder, ["fwknop", "access.conf"]),
    failure(
      1,
      `cannot import "bob": there is a client of that name`,
      "was the file imported before? openme rename bob makes room, openme revoke takes it out",
    ),
  );
  assert.equal(await folder.read("server.yaml"), before);
});

Deno.test("openme import knockd --dry-run says what it would add, and changes nothing", async () => {
  await using folder = await site();
  await folder.write(
    "knockd.conf",
    "[ssh]\nsequence = 1,2\ncommand = iptables -A INPUT -p tcp --dport 22 -j ACCEPT\n",
  );
  const before = await folder.read("server.yaml");
  const { code, stdout, stderr } = await run(folder, [
    "knockd",
    "knockd.conf",
    "--dry-run",
    "--json",
  ]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), {
    groups: [{ group: "tcp-22", ports: ["22/tcp"] }],
    clients: [{ client: "ssh", group: "tcp-22", expires_at: null, file: null }],
    left_out: [{ line: 2, what: "sequence", why: "a knock of openme is one signed datagram" }],
  });
  assert.match(stderr, /^openme: would add group tcp-22 \(22\/tcp\) to server\.yaml\n/);
  assert.equal(await folder.read("server.yaml"), before);
  assert.deepEqual(await folder.names(), ["access.conf", "knockd.conf", "server.yaml"]);
});

Deno.test("openme import opens nothing that the other program's file closes, or lets end", async () => {
  await using folder = await site();
  const before = await folder.read("server.yaml");
  await folder.write("access.conf", "SOURCE ANY\nOPEN_PORTS tcp/22\nACCESS_EXPIRE 31/12/2027\n");
  await folder.write(
    "knockd.conf",
    "[shut]\ncommand = iptables -A INPUT -p tcp --dport 22 -j DROP\n",
  );
  const of = (...lines: string[]) => ({
    code: 1,
    stdout: "",
    stderr: lines.map((line) => `openme: ${line}\n`).join(""),
  });
  assert.deepEqual(
    await run(folder, ["fwknop", "access.conf"]),
    of(
      `left out: access.conf, line 1: "the whole stanza": its ACCESS_EXPIRE in line 3 is no date: openme add NAME --expires WHEN`,
      `error: cannot import "access.conf": no client of it fits openme`,
      "hint: is it an access.conf?",
    ),
  );
  assert.deepEqual(
    await run(folder, ["knockd", "knockd.conf"]),
    of(
      `left out: knockd.conf, line 1: "[shut]": openme only opens ports of its own host, and this command does something else`,
      `error: cannot import "knockd.conf": no client of it fits openme`,
      "hint: is it a knockd.conf?",
    ),
  );
  assert.equal(await folder.read("server.yaml"), before);
});

Deno.test("openme import fwknop refuses a file with nothing in it for openme", async () => {
  await using folder = await site();
  await folder.write("empty.conf", "# nothing\n");
  assert.deepEqual(
    await run(folder, ["fwknop", "empty.conf"]),
    failure(1, `cannot import "empty.conf": no client of it fits openme`, "is it an access.conf?"),
  );
  await folder.write("bob.yaml", "mine");
  const result = await run(folder, ["fwknop", "access.conf"]);
  assert.deepEqual(
    result,
    failure(
      1,
      `cannot write "./bob.yaml": it exists already`,
      "choose another folder with --out-dir",
    ),
  );
  assert.equal(await folder.read("server.yaml"), serverYaml());
});
