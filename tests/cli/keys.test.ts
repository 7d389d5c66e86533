/** The commands that make, replace and revoke keys: what they print, and what the file holds after them. */

import assert from "node:assert/strict";
import { renderJson } from "../../lib/cli/context.ts";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import { encodeBase64, hexToBytes } from "../../lib/crypto/keys.ts";
import { fingerprint, publicKeyOf } from "../../lib/crypto/sync.ts";
import { testWith } from "../support/programs.ts";
import { must } from "../support/knocks.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import {
  assertNotTold,
  bareEnvironment,
  failure,
  good,
  openme,
  openmeOnTerminal,
  type Result,
} from "./program.ts";

const CONFIG = ["--config", "server.yaml"];
const DAY_MS = 86_400_000;

async function site(): Promise<Folder> {
  const folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  return folder;
}

function run(folder: Folder, args: readonly string[]): Promise<Result> {
  return openme([...args, ...CONFIG], { cwd: folder.path });
}

async function load(folder: Folder): Promise<ServerConfig> {
  return parseServerConfig(await folder.read("server.yaml"), "server.yaml");
}

async function clientOf(folder: Folder, name: string) {
  return must((await load(folder)).clients.find((client) => client.name === name));
}

Deno.test("openme add --out writes a profile that only its owner can read, and prints nothing", async () => {
  await using folder = await site();
  const { code, stdout, stderr } = await run(folder, ["add", "bob", "--out", "bob.yaml"]);
  assert.deepEqual([code, stdout], [0, ""]);
  assert.match(stderr, /^openme: wrote bob\.yaml\nopenme: added bob to server\.yaml\n/);
  assert.equal(await folder.mode("bob.yaml"), 0o600);
  const profile = must((await parseClientConfig(await folder.read("bob.yaml"), "")).get("default"));
  const publicKey = publicKeyOf("Ed25519", must(profile.clientSeed));
  assert.deepEqual((await clientOf(folder, "bob")).publicKey, publicKey);
  // A file that is there stays, and then nothing is registered either.
  const before = await folder.read("server.yaml");
  assert.deepEqual(
    await run(folder, ["add", "carol", "--out", "bob.yaml"]),
    failure(1, `cannot write "bob.yaml": it exists already`, "choose another name, or remove it"),
  );
  assert.equal(await folder.read("server.yaml"), before);
});

Deno.test("openme add --out - is standard output, and --out makes no folder for a path with a slip in it", async () => {
  await using folder = await site();
  const { code, stdout } = await run(folder, ["add", "bob", "--out", "-"]);
  assert.equal(code, 0);
  assert.ok((await parseClientConfig(stdout, "")).get("default"));
  const both = await run(folder, ["add", "dave", "--out", "-", "--qr-out", "dave.svg"]);
  assert.ok((await parseClientConfig(both.stdout, "")).get("default"), both.stderr);
  assert.deepEqual(await folder.names(), ["dave.svg", "server.yaml"]);
  const before = await folder.read("server.yaml");
  for (const flags of [["--out", "typo/carol.yaml"], ["--qr-out", "typo/carol.svg"]]) {
    assert.deepEqual(
      await run(folder, ["add", "carol", ...flags]),
      failure(
        1,
        `cannot write "${flags[1]}": its folder does not exist`,
        "make the folder first, or name another file",
      ),
    );
  }
  assert.deepEqual(
    await openme(["keygen", "--out", "typo/a.key"], { cwd: folder.path }),
    failure(
      1,
      `cannot write "typo/a.key": its folder does not exist`,
      "make the folder first, or name another file",
    ),
  );
  assert.deepEqual(
    await openme(["keygen", "--out", "-"], { cwd: folder.path }),
    failure(
      2,
      `--out: expected a file name, got "-"`,
      "standard output is for the public key; the private one goes into a file",
    ),
  );
  assert.deepEqual(await folder.names(), ["dave.svg", "server.yaml"]);
  assert.equal(await folder.read("server.yaml"), before);
});

Deno.test("openme add leaves no file behind where it cannot register the client", async () => {
  await using folder = await site();
  const before = await folder.read("server.yaml");
  await folder.write("bob.svg", "");
  const { code } = await run(folder, ["add", "bob", "--out", "bob.yaml", "--qr-out", "bob.svg"]);
  assert.equal(code, 1);
  assert.deepEqual(await folder.names(), ["bob.svg", "server.yaml"]);
  assert.equal(await folder.read("server.yaml"), before);
});

Deno.test("openme add --expires takes a span from now", async () => {
  await using folder = await site();
  for (const [span, ms] of [["90d", 90 * DAY_MS], ["12h", DAY_MS / 2]] as const) {
    const startMs = Date.now();
    const { code, stderr } = await run(folder, ["add", `c${span}`, "--expires", span]);
    assert.equal(code, 0, stderr);
    const { expiresAtMs } = await clientOf(folder, `c${span}`);
    assert.ok(
      must(expiresAtMs) > startMs + ms - 1000 && must(expiresAtMs) <= Date.now() + ms,
      span,
    );
    assert.match(stderr, /added \S+ to server\.yaml, until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n/);
  }
});

Deno.test("a key from openme keygen is registered by its public half alone, and import puts both together", async () => {
  await using folder = await site();
  const HOME = folder.file("home");
  const env = await bareEnvironment({ HOME });
  const made = await openme(["keygen"], { cwd: folder.path, env });
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /^[A-Za-z0-9+/]{43}=\n$/);
  const publicKey = made.stdout.trim();
  assert.equal(made.stderr, "", "quiet without a terminal");
  assert.equal(await folder.mode("home/.openme/client.key"), 0o600);
  assert.equal(await folder.mode("home/.openme"), 0o700);
  const privateKey = (await folder.read("home/.openme/client.key")).trim();

  const added = await run(folder, ["add", "bob", "--pubkey", publicKey]);
  assert.equal(added.code, 0, added.stderr);
  assert.ok(!added.stdout.includes("\n    private_key"), added.stdout);
  assert.equal(encodeBase64((await clientOf(folder, "bob")).publicKey), publicKey);
  await folder.write("bob.yaml", added.stdout);

  const imported = await openme(["import", "bob.yaml", "--as", "home"], { cwd: folder.path, env });
  assert.deepEqual(imported, good());
  const profiles = await parseClientConfig(await folder.read("home/.openme/config.yaml"), "");
  assert.equal(
    encodeBase64(publicKeyOf("Ed25519", must(must(profiles.get("home")).clientSeed))),
    publicKey,
  );

  // A second key never replaces the first.
  assert.deepEqual(
    await openme(["keygen"], { cwd: folder.path, env }),
    failure(
      1,
      `cannot write "${HOME}/.openme/client.key": it exists already`,
      "a key is never replaced: name another file with --out FILE; openme keygen --show prints the public half",
    ),
  );
  assert.equal((await folder.read("home/.openme/client.key")).trim(), privateKey);
});

testWith(
  ["script"],
  "openme keygen and import tell a person at a terminal what they did",
  async () => {
    await using folder = await site();
    const HOME = folder.file("home");
    const start = {
      cwd: folder.path,
      env: { HOME, DENO_DIR: (await bareEnvironment())["DENO_DIR"]! },
    };
    const made = await openmeOnTerminal(["keygen"], start);
    const publicKey = must(/^\S+/.exec(made.shown))[0];
    assert.deepEqual(made, {
      code: 0,
      shown: [
        publicKey,
        `openme: wrote the private key to ${HOME}/.openme/client.key`,
        `openme: next, on the server: openme add NAME --pubkey ${publicKey}`,
        "",
      ].join("\n"),
    });
    const privateKey = (await folder.read("home/.openme/client.key")).trim();
    assertNotTold(made.shown.replaceAll(publicKey, ""), privateKey.slice(0, 40));
    await run(folder, ["add", "bob", "--pubkey", publicKey, "--out", "bob.yaml"]);
    assert.deepEqual(await openmeOnTerminal(["import", "bob.yaml", "--as", "home"], start), {
      code: 0,
      shown:
        `openme: imported home into ${HOME}/.openme/config.yaml\nopenme: next: openme knock home\n`,
    });
  },
);

Deno.test("openme keygen --json tells the public key and the file", async () => {
  await using folder = await Folder.create();
  const { code, stdout } = await openme(["keygen", "--out", "a.key", "--json"], {
    cwd: folder.path,
  });
  assert.equal(code, 0);
  const { public_key, file } = JSON.parse(stdout);
  assert.deepEqual([file, public_key.length], ["a.key", 44]);
});

Deno.test("openme list shows every client with its key, ports and end", async () => {
  await using folder = await site();
  await run(folder, ["add", "bob", "--ports", "80/tcp,ssh", "--expires", "2099-12-31"]);
  await folder.write(
    "server.yaml",
    (await folder.read("server.yaml")).replace("host:", "state_dir: /nonexistent\n  host:"),
  );
  const config = await load(folder);
  const [alice, bob] = config.clients.map(({ publicKey }) => fingerprint(publicKey));
  assert.deepEqual(await run(folder, ["list"]), {
    code: 0,
    stderr: "",
    stdout: [
      "NAME   KEY               PORTS          EXPIRES               LAST SEEN",
      `alice  ${alice}  22/tcp         never                 never`,
      `bob    ${bob}  22/tcp 80/tcp  2099-12-31T00:00:00Z  never`,
      "",
    ].join("\n"),
  });
  const { clients } = JSON.parse((await run(folder, ["list", "--json"])).stdout);
  assert.deepEqual(clients[0], {
    client: "alice",
    fingerprint: alice,
    public_key: ALICE_PUBLIC,
    ports: ["22/tcp"],
    conditions: null,
    extensions: [],
    prefix: { v4: 32, v6: 128 },
    expires_at: null,
    previous_key: null,
    last_seen_at: null,
  });
  await run(folder, ["add", "roamer", "--prefix", "v4=24"]);
  const roamer = fingerprint(must((await load(folder)).clients[2]).publicKey);
  assert.equal(
    (await run(folder, ["list"])).stdout,
    [
      "NAME    KEY               PORTS          PREFIX        EXPIRES               LAST SEEN",
      `alice   ${alice}  22/tcp                       never                 never`,
      `bob     ${bob}  22/tcp 80/tcp                2099-12-31T00:00:00Z  never`,
      `roamer  ${roamer}  22/tcp         v4=24,v6=128  never                 never`,
      "",
    ].join("\n"),
  );
  await folder.write("server.yaml", serverYaml({ rest: "" }));
  assert.deepEqual(
    await run(folder, ["list"]),
    good(["openme: no clients yet; register one: openme add NAME"]),
  );
});

Deno.test("openme revoke and rename change one client and nothing else in the file", async () => {
  await using folder = await site();
  await run(folder, ["add", "bob"]);
  const withBob = "# who may come\n" + await folder.read("server.yaml") + "\n# the end\n";
  await folder.write("server.yaml", withBob, 0o640);
  const config = await load(folder);
  assert.deepEqual(
    await run(folder, ["rename", "bob", "robert"]),
    good(["openme: renamed bob to robert in server.yaml"]),
  );
  assert.equal(await folder.read("server.yaml"), withBob.replace("  bob:", "  robert:"));
  assert.deepEqual(
    await run(folder, ["rename", "robert", "bob", "--json"]),
    good(
      ["openme: renamed robert to bob in server.yaml"],
      renderJson({ renamed: { from: "robert", to: "bob" } }),
    ),
  );
  const key = fingerprint(must(config.clients[1]).publicKey);
  assert.deepEqual(
    await run(folder, ["revoke", "bob", "--json"]),
    good(
      [`openme: revoked bob (key ${key}) in server.yaml`],
      renderJson({ revoked: { client: "bob", fingerprint: key } }),
    ),
  );
  assert.equal(
    await folder.read("server.yaml"),
    withBob.replace(/ {2}bob:\n(?: {4}.*\n)+/, ""),
  );
  assert.equal(await folder.mode("server.yaml"), 0o640);
  const alice = fingerprint(must(config.clients[0]).publicKey);
  assert.deepEqual(
    await run(folder, ["revoke", "alice", "--kill", "--json", "--state-dir", "nowhere"]),
    {
      code: 1,
      stdout: renderJson({
        revoked: { client: "alice", fingerprint: alice },
        closed: [],
        cut: null,
        failures: [
          "the key is revoked, but no connection was cut: cannot reach openme serve: it is not running",
        ],
      }),
      stderr: `openme: revoked alice (key ${alice}) in server.yaml\n` +
        "openme: error: the key is revoked, but no connection was cut: cannot reach openme serve: it is not running\n" +
        "openme: hint: start it: openme serve; or name its folder: --state-dir DIR; then: openme close alice --kill\n",
    },
  );
  assert.deepEqual((await load(folder)).clients, []);
});

Deno.test("ports that revoke leaves without a user are no standing warning", async () => {
  await using folder = await site();
  for (const name of ["carol", "dave"]) {
    const ports = name === "carol" ? "9000/tcp" : "22/tcp";
    assert.equal((await run(folder, ["add", name, "--ports", ports])).code, 0);
  }
  const warnings = async () =>
    (await run(folder, ["check"])).stderr.split("\n").filter((line) => /warning/.test(line));
  const before = await warnings();
  assert.equal((await run(folder, ["revoke", "carol"])).code, 0);
  assert.deepEqual(await warnings(), before);
});

Deno.test("openme add keeps ports of no group guarded, so that revoke opens nothing", async () => {
  await using folder = await site();
  const added = await run(folder, ["add", "web", "--ports", "8080/tcp,22/tcp"]);
  assert.equal(added.code, 0, added.stderr);
  assert.match(
    added.stderr,
    /^openme: added web to server\.yaml\nopenme: added 8080\/tcp to the group guarded of server\.yaml: guarded also when no client has it\n/,
  );
  // It is no group to choose: who is added without --ports gets what the others get.
  await run(folder, ["add", "bob"]);
  assert.deepEqual((await clientOf(folder, "bob")).ports, (await clientOf(folder, "alice")).ports);
  const { guardedPorts } = await load(folder);
  const { stderr } = await run(folder, ["revoke", "web"]);
  assert.match(stderr, /^openme: revoked web \(key [0-9a-f]+\) in server\.yaml\n$/);
  assert.deepEqual((await load(folder)).guardedPorts, guardedPorts);
});

Deno.test("openme revoke keeps the ports of an older file guarded", async () => {
  await using folder = await Folder.create();
  const clients = `clients:
  # the web's
  web: {ed25519_pubkey: ${OTHER_PUBLIC}, allowed_ports: [8080-8081/tcp, 443, ssh]}
  alice: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [443/tcp]} # hers
`;
  await folder.write("server.yaml", serverYaml({ rest: `ports: {ssh: [22/tcp]} # a\n${clients}` }));
  const { guardedPorts } = await load(folder);
  const revoked = await run(folder, ["revoke", "web"]);
  assert.equal(revoked.code, 0, revoked.stderr);
  assert.match(
    revoked.stderr,
    /\nopenme: added 8080-8081\/tcp, 443\/udp to the group guarded of server\.yaml: guarded also when no client has it\n$/,
  );
  assert.deepEqual((await load(folder)).guardedPorts, guardedPorts);
  assert.match(await folder.read("server.yaml"), /# a\n[^]*# hers\n$/);
});

Deno.test("openme rotate gives a client a new key and keeps the old one for a while", async () => {
  await using folder = await site();
  const startMs = Date.now();
  const { code, stdout, stderr } = await run(folder, ["rotate", "alice", "--grace", "12h"]);
  assert.equal(code, 0, stderr);
  const profile = must((await parseClientConfig(stdout, "")).get("default"));
  const alice = await clientOf(folder, "alice");
  assert.deepEqual(alice.publicKey, publicKeyOf("Ed25519", must(profile.clientSeed)));
  const previous = must(alice.previous);
  assert.equal(encodeBase64(hexToBytes(previous.key)), ALICE_PUBLIC);
  assert.ok(Math.abs(previous.untilMs - startMs - DAY_MS / 2) < 10_000);
  assert.match(
    stderr,
    /^openme: alice has a new key in server\.yaml; the old one is good until \S+Z\n/,
  );

  const second = await run(folder, ["rotate", "alice", "--grace", "0", "--json", "--link"]);
  assert.equal(second.code, 0, second.stderr);
  assert.match(second.stderr, /; the old one has ended\n/);
  assert.match(second.stderr, /the key before that, which was still good, has ended\n/);
  const json = JSON.parse(second.stdout);
  assert.deepEqual([json.client, json.previous_key, json.changed], ["alice", null, true]);
  const link = new URL(json.link).searchParams;
  const now = await clientOf(folder, "alice");
  assert.equal(encodeBase64(now.publicKey), json.public_key);
  assert.equal(json.public_key, link.get("client_pubkey"));
  assert.equal(now.previous, undefined);
});

Deno.test("openme rotate --server keeps two keys until --finish", async () => {
  await using folder = await site();
  const before = await load(folder);
  const { stdout: profile } = await run(folder, ["add", "carol"]);
  const begun = await run(folder, ["rotate", "--server"]);
  assert.equal(begun.code, 0, begun.stderr);
  const during = await load(folder);
  assert.equal(begun.stdout, encodeBase64(during.publicKey) + "\n");
  assert.notDeepEqual(during.publicKey, before.publicKey);
  assert.deepEqual(during.previousPrivateKey, before.privateKey);
  // What it says to do does it.
  const line = /^openme: next: on every client.*: (server_pubkey: ".*")$/m.exec(begun.stderr)?.[1];
  const mended = profile.replace(/server_pubkey: .*/, must(line));
  assert.deepEqual(
    (await parseClientConfig(mended, "")).get("default")?.serverPublicKey,
    during.publicKey,
  );
  const added = await run(folder, ["add", "bob"]);
  assert.ok(added.stdout.includes(begun.stdout.trim()), "new profiles have the new key");
  assert.match((await run(folder, ["list"])).stderr, /two server keys are good at the moment/);
  assert.deepEqual(
    await run(folder, ["rotate", "--server"]),
    failure(
      1,
      "cannot rotate the server's key: two are good already",
      "end the old one first: openme rotate --server --finish",
    ),
  );
  assert.deepEqual(
    await run(folder, ["rotate", "--server", "--finish", "--json"]),
    good(
      ["openme: the server's old key has ended in server.yaml"],
      renderJson({ server_pubkey: begun.stdout.trim() }),
    ),
  );
  const after = await load(folder);
  assert.equal(after.previousPrivateKey, undefined);
  assert.deepEqual(after.privateKey, during.privateKey);
});

Deno.test("commands that edit at the same time lose nothing", async () => {
  await using folder = await site();
  for (const name of ["old1", "old2"]) await run(folder, ["add", name]);
  const real = folder.file("server.yaml");
  await Deno.rename(real, folder.file("real.yaml"));
  await Deno.symlink("real.yaml", real);
  const results = await Promise.all([
    ...Array.from({ length: 6 }, (_, i) => run(folder, ["add", `new${i}`])),
    run(folder, ["revoke", "old1"]),
    run(folder, ["rename", "old2", "young"]),
    run(folder, ["rotate", "alice"]),
    run(folder, ["rotate", "--server"]),
  ]);
  for (const { code, stderr } of results) assert.equal(code, 0, stderr);
  const config = await load(folder);
  assert.deepEqual(
    config.clients.map(({ name }) => name).sort(),
    ["alice", "new0", "new1", "new2", "new3", "new4", "new5", "young"],
  );
  assert.ok(config.previousPrivateKey);
  assert.ok((await clientOf(folder, "alice")).previous);
  assert.ok((await Deno.lstat(real)).isSymlink, "a symbolic link stays one");
  assert.deepEqual(await folder.names(), ["real.yaml", "server.yaml"]);
});

const BAD: readonly (readonly [args: string[], error: string, hint?: string])[] = [
  [["list", "x"], `openme list: unexpected argument "x"`, "see openme list --help"],
  [["revoke"], "openme revoke needs CLIENT", "see openme revoke --help"],
  [
    ["revoke", "alice", "--state-dir", "x"],
    "--state-dir does nothing without --kill or --fleet",
    "see openme revoke --help",
  ],
  [
    ["rename"],
    "openme rename needs CLIENT and NEW",
    "see openme rename --help",
  ],
  [
    ["rename", "alice"],
    "openme rename needs CLIENT and NEW",
    "see openme rename --help",
  ],
  [
    ["rename", "alice", "a b"],
    `expected a client name, got "a b"`,
    "letters, digits, dots, hyphens and underscores, the first one a letter, at most 64",
  ],
  [["rotate"], "openme rotate needs CLIENT, or --server", "openme list shows them all"],
  [
    ["rotate", "alice", "--finish"],
    "--finish goes with --server",
    "a client's old key ends by itself, or at once with --grace 0",
  ],
  [
    ["rotate", "alice", "--server"],
    "--server and CLIENT exclude each other",
    "the server's key and a client's are rotated one after the other",
  ],
  [
    ["rotate", "--server", "--qr"],
    "--server and --qr exclude each other",
    "the server's key and a client's are rotated one after the other",
  ],
  [
    ["rotate", "alice", "--grace", "soon"],
    `--grace: expected a span such as "90d" or "12h", got "soon"`,
  ],
  [
    ["rotate", "alice", "--grace", "40000d"],
    `--grace: expected a span such as "90d" or "12h", got "40000d"`,
  ],
  [
    ["add", "bob", "--qr", "--link"],
    "--qr and --link exclude each other",
    "standard output has room for one of them",
  ],
  [
    ["add", "bob", "--qr-out", "bob.jpg"],
    `--qr-out: expected a file name that ends in .png or .svg, got "bob.jpg"`,
  ],
  [["add", "bob", "--out="], `--out: expected a file name, got ""`],
  [
    ["add", "bob", "--out", "-", "--json"],
    "--json and --out - exclude each other",
    "standard output has room for one of them",
  ],
  [["add", "bob", "--expires", "0d"], `--expires: expected a time to come, got "0d"`],
  [
    ["add", "bob", "--pubkey", OTHER_PUBLIC, "--qr"],
    "--pubkey and --qr exclude each other",
    "a QR code or link carries the private key, and with --pubkey only the client has that",
  ],
  [
    ["add", "bob", "--pubkey", "AAAA"],
    "--pubkey: expected an Ed25519 public key (32 bytes in base64)",
    "openme keygen, run on the client, prints it",
  ],
  [
    ["add", "bob", "--pubkey", encodeBase64(new Uint8Array(32))],
    "--pubkey: expected an Ed25519 public key (32 bytes in base64)",
    "openme keygen, run on the client, prints it",
  ],
  [
    ["add", "bob", "--pubkey", encodeBase64(new Uint8Array(64).fill(7))],
    "--pubkey: expected an Ed25519 public key (32 bytes in base64)",
    "that is a private key: it should not have left the client; make another with openme keygen",
  ],
];

/** Failures that are not the command line's. */
const FAILED: readonly (readonly [args: string[], error: string, hint?: string])[] = [
  [["revoke", "alcie"], `there is no client "alcie"`, "did you mean alice?"],
  [["revoke", "\x1b[2J"], `there is no client "\\u001b[2J"`, "openme list shows them all"],
  [["rotate", "bob"], `there is no client "bob"`, "openme list shows them all"],
  [["rename", "bob", "dan"], `there is no client "bob"`, "openme list shows them all"],
  [
    ["rename", "alice", "alice"],
    `cannot rename "alice": there is a client "alice" already`,
    "openme list shows them all",
  ],
  [
    ["add", "bob", "--pubkey", ALICE_PUBLIC],
    `cannot add "bob": alice has that key`,
    "every client needs its own; take alice out of server.yaml if it is the same one",
  ],
  [
    ["rotate", "alice", "--pubkey", ALICE_PUBLIC],
    "cannot rotate alice: the new key is in use already",
    "make a new one on the client: openme keygen",
  ],
  [
    ["rotate", "--server", "--finish"],
    "there is no rotation of the server's key to finish",
    "begin one: openme rotate --server",
  ],
];

Deno.test("a wrong use of the key commands is an error with a hint, and changes nothing", async () => {
  await using folder = await site();
  const before = await folder.read("server.yaml");
  for (const [code, rows] of [[2, BAD], [1, FAILED]] as const) {
    for (const [args, error, hint] of rows) {
      assert.deepEqual(await run(folder, args), failure(code, error, hint), args.join(" "));
    }
  }
  assert.equal(await folder.read("server.yaml"), before);
  assert.deepEqual(await folder.names(), ["server.yaml"]);
});
