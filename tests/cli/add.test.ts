/** `openme add`: one more client in the file, its profile on stdout, and no other change. */

import assert from "node:assert/strict";
import { insertEntry } from "../../lib/config/edit_server.ts";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import { decodeBase64, encodeBase64 } from "../../lib/crypto/keys.ts";
import { fingerprint, publicKeyOf } from "../../lib/crypto/sync.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { filled, must } from "../support/knocks.ts";
import {
  ALICE_PUBLIC,
  OTHER_PUBLIC,
  SERVER_PRIVATE,
  SERVER_PUBLIC,
  serverYaml,
} from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { assertNotTold, failure, mapSome, openme, type Result } from "./program.ts";

const KEEP_SAFE =
  "openme: the profile holds a private key: keep it where nobody else can read it (chmod 600)";

/** Runs `openme add` in the folder of the configuration. */
function add(folder: Folder, args: readonly string[], config = "server.yaml"): Promise<Result> {
  return openme(["add", ...args, "--config", config], { cwd: folder.path });
}

async function load(folder: Folder, name = "server.yaml"): Promise<ServerConfig> {
  return parseServerConfig(await folder.read(name), name);
}

/** What a client of a configuration may do, in words. */
function clientOf(config: ServerConfig, name: string) {
  const client = must(config.clients.find((each) => each.name === name));
  return {
    ports: client.ports.map(formatPortRange),
    expires: client.expiresAtMs === undefined
      ? undefined
      : new Date(client.expiresAtMs).toISOString(),
  };
}

Deno.test("openme add tells the health port where it is not the knock port", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml({ server: ["health_port: 8443"] }));
  const { stdout } = await add(folder, ["bob"]);
  const profile = must((await parseClientConfig(stdout, "stdout")).get("default"));
  assert.deepEqual([profile.serverUdpPort, profile.healthPort], [54154, 8443]);
});

Deno.test("openme add prints exactly a profile, whose key it has registered", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml({ server: ["udp_port: 4000"] }));
  const { code, stdout, stderr } = await add(folder, ["bob"]);
  assert.deepEqual({ code, stderr }, {
    code: 0,
    stderr: `openme: added bob to server.yaml\n${KEEP_SAFE}\n`,
  });
  const BASE64 = "[A-Za-z0-9+/]";
  const shape = new RegExp(`^profiles:
  default:
    server_host: "box\\.example"
    server_udp_port: 4000
    server_pubkey: "${SERVER_PUBLIC.replace(/[+.]/g, "\\$&")}"
    private_key: "(${BASE64}{86}==)"
    public_key: "(${BASE64}{43}=)"
$`);
  const [, privateKey, publicKey] = must(shape.exec(stdout));
  assertNotTold(stderr, privateKey!);
  const profile = must((await parseClientConfig(stdout, "stdout")).get("default"));
  assert.deepEqual(
    [profile.serverHost, profile.serverUdpPort, profile.postKnock],
    ["box.example", 4000, undefined],
  );
  assert.deepEqual(profile.clientSeed, must(decodeBase64(privateKey!)).slice(0, 32));

  const text = await folder.read("server.yaml");
  assertNotTold(text.replaceAll(publicKey!, ""), privateKey!);
  const config = parseServerConfig(text, "server.yaml");
  const bob = must(config.clients.find(({ name }) => name === "bob"));
  assert.deepEqual(bob.publicKey, decodeBase64(publicKey!));
  assert.deepEqual(clientOf(config, "bob"), {
    ports: ["22/tcp", "4000/tcp"],
    expires: undefined,
  });
  // The other client is there as before, and a second run makes another key.
  assert.deepEqual(config.clients.map(({ name }) => name), ["alice", "bob"]);
  const carol = await add(folder, ["carol"]);
  assert.equal(carol.code, 0);
  assert.notEqual(must(shape.exec(carol.stdout))[1], privateKey);
});

Deno.test("openme add --prefix writes it down, and says who is let in with this firewall", async () => {
  const FIRST = "the first address of it that connects is let in, one more with each knock";
  const ALL = "every address of it is let in until the grant ends";
  const rows: [firewall: string, flag: string, prefix: object, told: string | undefined][] = [
    [
      "nft",
      "v4=24,v6=64",
      { v4: 24, v6: 64 },
      `(/24 in IPv4, /64 in IPv6); with firewall: nft, ${FIRST}`,
    ],
    ["iptables", "v4=24", { v4: 24, v6: 128 }, `(/24 in IPv4); with firewall: iptables, ${ALL}`],
    ["pf", "v6=48", { v4: 32, v6: 48 }, `(/48 in IPv6); with firewall: pf, ${ALL}`],
    [
      "auto",
      "v6=64, v4=16",
      { v4: 16, v6: 64 },
      `(/16 in IPv4, /64 in IPv6); with firewall: auto, where that is nft, ${FIRST}; with any other, ${ALL}`,
    ],
    ["none", "v4=24", { v4: 24, v6: 128 }, undefined],
    ["nft", "v4=32,v6=128", { v4: 32, v6: 128 }, undefined],
  ];
  await mapSome(rows, async ([firewall, flag, prefix, told]) => {
    await using folder = await Folder.create();
    await folder.write("server.yaml", serverYaml({ server: [`firewall: ${firewall}`] }));
    const { code, stderr } = await add(folder, ["bob", "--prefix", flag]);
    const line = told === undefined
      ? ""
      : `openme: a knock by bob opens for the whole network around its address ${told}\n`;
    assert.deepEqual({ code, stderr }, {
      code: 0,
      stderr: `openme: added bob to server.yaml\n${line}${KEEP_SAFE}\n`,
    });
    const bob = (await load(folder)).clients.find(({ name }) => name === "bob");
    assert.deepEqual(bob?.prefix, prefix);
    assert.match(await folder.read("server.yaml"), /^ {4}prefix: \{v[46]: /m);
  });
});

Deno.test("openme add takes ports, an expiry and a profile's name", async () => {
  const GROUPS = ["ports:", "  ssh: [22/tcp]", "  default: [8000-8010/tcp, 53/udp]", ""].join("\n");
  const year = new Date().getUTCFullYear() + 1;
  const rows = [
    { args: [], ports: ["8000-8010/tcp", "53/udp"] },
    { args: ["--ports", "ssh"], ports: ["22/tcp"] },
    { args: ["--ports", "ssh, 80,443/tcp"], ports: ["22/tcp", "80/tcp", "443/tcp", "80/udp"] },
    { args: ["--ports", "22/tcp,ssh,20-25"], ports: ["20-25/tcp", "20-25/udp"] },
    { args: ["--expires", `${year}-12-31`], expires: `${year}-12-31T00:00:00.000Z` },
    {
      args: ["--expires", `${year}-06-30T18:00:00.250+02:00`],
      expires: `${year}-06-30T16:00:00.250Z`,
    },
    { args: ["--profile", "work.box-1_a"], profile: "work.box-1_a" },
    // Words that YAML would read as something else.
    { args: ["--profile", "true"], profile: "true" },
    { args: ["--profile", "null"], profile: "null" },
    { args: ["--profile", "no"], profile: "no" },
  ];
  const outcomes = await mapSome(rows, async ({ args }) => {
    await using folder = await Folder.create();
    await folder.write("server.yaml", serverYaml({ server: ["health_port: 9"], rest: GROUPS }));
    const { code, stdout, stderr } = await add(folder, ["bob", ...args]);
    if (code !== 0) return { args, problem: stderr };
    const profiles = await parseClientConfig(stdout, "stdout").catch(String);
    const { ports, expires } = clientOf(await load(folder), "bob");
    return {
      args,
      ports: ports.filter((port) => port !== "9/tcp"),
      expires,
      profiles: typeof profiles === "string" ? profiles : [...profiles.keys()],
    };
  });
  const expected = rows.map(({ args, ports, expires, profile }) => ({
    args,
    ports: ports ?? ["8000-8010/tcp", "53/udp"],
    expires,
    profiles: [profile ?? "default"],
  }));
  assert.deepEqual(outcomes, expected);
});

Deno.test("openme add says until when the key is good, and uses the server's default profile", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml({ server: ["default_profile: home"] }));
  const { code, stdout, stderr } = await add(folder, ["bob", "--expires", "2100-01-01"]);
  assert.deepEqual({ code, stderr }, {
    code: 0,
    stderr: `openme: added bob to server.yaml, until 2100-01-01T00:00:00Z\n${KEEP_SAFE}\n`,
  });
  assert.deepEqual([...(await parseClientConfig(stdout, "stdout")).keys()], ["home"]);
});

const CAROL_PUBLIC = encodeBase64(publicKeyOf("Ed25519", filled(0xca)));

const ALICE_BLOCK = `  alice: # the first
    ed25519_pubkey: ${ALICE_PUBLIC} # hers
    allowed_ports: [ssh]
    # nothing more for alice`;

/** Files whose every line, comment and space has to be there afterwards, in its order. */
const KEPT = [
  {
    why: "with comments everywhere and odd spaces",
    text: `# top

---
server:   # after a key
    host: 'box.example'      # aligned    comment
    udp_port:   54154
    private_key:    "${SERVER_PRIVATE}"

    # alone between empty lines


    knock_timeout: "45s"
ports:
    ssh: [ "22/tcp" , '53/udp', 80 ]   # a flow
    web:
        - 80/tcp   # one
        # between
        - 443/tcp
clients:
    # above alice
    alice:  # beside alice
        ed25519_pubkey: ${ALICE_PUBLIC}
        allowed_ports: [ssh]
`,
  },
  {
    why: "with comments and sections below the clients",
    text: `clients:
${ALICE_BLOCK}
  # below alice

# between the sections
ports: {ssh: [22/tcp]} # in one line
server:
  host: box.example
  private_key: ${SERVER_PRIVATE}
# the end
`,
  },
  {
    why: "with a comment as its last line",
    text: `${serverYaml({ rest: `ports: {ssh: [22/tcp]}\nclients:\n${ALICE_BLOCK}` })}# the end\n`,
  },
  {
    why: "without a line break at its end",
    text: serverYaml().trimEnd(),
  },
  {
    why: "without clients",
    text: serverYaml({ rest: "ports: {ssh: [22/tcp]}\n# the end" }),
  },
  {
    why: "with nothing below clients but a comment",
    text: serverYaml({
      rest: "ports: {ssh: [22/tcp]}\nclients: # none yet\n  # not one\n# the end",
    }),
  },
  {
    why: "with an empty map of clients",
    text: serverYaml({ rest: "clients: {} # none yet\n\nports: {ssh: [22/tcp]} # ours\n" }),
  },
  {
    why: "with clients in one line",
    text: serverYaml({
      rest:
        `clients: {alice: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [ssh]}} # in one line\n` +
        "ports: {ssh: [22/tcp]}",
    }),
  },
];

for (const { why, text } of KEPT) {
  Deno.test(`insertEntry() keeps every comment and every other line of a file ${why}`, () => {
    const namesIn = (yaml: string) =>
      parseServerConfig(yaml, "server.yaml").clients.map(({ name }) => name);
    const withBob = insertEntry(text, "clients", "bob", {
      ed25519_pubkey: OTHER_PUBLIC,
      allowed_ports: ["ssh"],
      expires: "2100-01-01T00:00:00Z",
    });
    const after = insertEntry(withBob, "clients", "carol", {
      ed25519_pubkey: CAROL_PUBLIC,
      allowed_ports: ["ssh", "80"],
    });
    assert.deepEqual(namesIn(after), [...namesIn(text), "bob", "carol"]);
    const { ports } = clientOf(parseServerConfig(after, "server.yaml"), "carol");
    for (const port of ["22/tcp", "80/tcp", "80/udp"]) assert.ok(ports.includes(port), port);
    assertComments(text, after);
    assertLines(text, after);
  });
}

for (const text of [undefined, KEPT[0]!.text]) {
  const whose = text === undefined ? "openme init has written" : "a person has written";
  Deno.test(`openme add keeps every comment and every other line of a file that ${whose}`, async () => {
    await using folder = await Folder.create();
    if (text === undefined) {
      const init = await openme(["init", "--server", "h", "--config", folder.file("server.yaml")]);
      assert.equal(init.code, 0);
    } else {
      await folder.write("server.yaml", text);
    }
    const before = await folder.read("server.yaml");
    const names = (await load(folder)).clients.map(({ name }) => name);
    for (const name of ["bob", "carol"]) {
      const { code, stderr } = await add(folder, [name, "--ports", "ssh"]);
      assert.equal(code, 0, stderr);
    }
    const after = await folder.read("server.yaml");
    assert.deepEqual((await load(folder)).clients.map(({ name }) => name), [
      ...names,
      "bob",
      "carol",
    ]);
    assertComments(before, after);
    assertLines(before, after);
  });
}

/** Every comment is there, in its order. */
function assertComments(before: string, after: string): void {
  const comments = (text: string) => [...text.matchAll(/(?:^|\s)(#.*)$/gm)].map(([, each]) => each);
  assert.deepEqual(comments(after), comments(before));
}

/** Every line is there as it was, in its order; only the line that says `clients` may have changed. */
function assertLines(before: string, after: string): void {
  let rest = after.split("\n");
  for (const line of before.trimEnd().split("\n")) {
    if (/^clients:/.test(line)) continue;
    const at = rest.indexOf(line);
    assert.ok(at >= 0, `the line ${JSON.stringify(line)} is gone, or elsewhere:\n${after}`);
    rest = rest.slice(at + 1);
  }
}

Deno.test("openme add replaces the file in one step: link, mode and owner stay, nothing else is left", async () => {
  await using folder = await Folder.create();
  await folder.write("real.yaml", serverYaml(), 0o640);
  await Deno.symlink("real.yaml", folder.file("near.yaml"));
  await Deno.mkdir(folder.file("etc"));
  await Deno.symlink("../near.yaml", folder.file("etc/far.yaml"));
  const isRoot = Deno.uid() === 0;
  const group = isRoot ? 12 : Deno.gid()!;
  if (isRoot) await Deno.chown(folder.file("real.yaml"), 34, group).catch(() => {});
  const before = await Deno.stat(folder.file("real.yaml"));
  const old = await Deno.open(folder.file("real.yaml"));

  const { code, stderr } = await add(folder, ["bob"], "etc/far.yaml");
  assert.deepEqual({ code, stderr }, {
    code: 0,
    stderr: `openme: added bob to etc/far.yaml\n${KEEP_SAFE}\n`,
  });
  assert.equal(await Deno.readLink(folder.file("etc/far.yaml")), "../near.yaml");
  assert.equal(await Deno.readLink(folder.file("near.yaml")), "real.yaml");
  const after = await Deno.lstat(folder.file("real.yaml"));
  assert.equal(after.mode! & 0o7777, 0o640);
  assert.deepEqual([after.uid, after.gid], [before.uid, before.gid]);
  assert.ok((await load(folder, "real.yaml")).clients.some(({ name }) => name === "bob"));
  assert.deepEqual(await folder.names(), ["etc", "near.yaml", "real.yaml"]);
  // A program that has the old file open still reads the old text: the file was replaced, not written over.
  assert.notEqual(after.ino, before.ino);
  assert.equal(await new Response(old.readable).text(), serverYaml());
});

Deno.test("openme add leaves the file alone and prints nothing where it cannot write", async () => {
  await using folder = await Folder.create();
  // The name leaves no room for that of a temporary file.
  const name = "x".repeat(250);
  await folder.write(name, serverYaml());
  const { code, stdout, stderr } = await add(folder, ["bob"], name);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(stderr, /^openme: error: cannot write "x{250}": .*name too long.*\n$/i);
  assert.equal(await folder.read(name), serverYaml());
  assert.deepEqual(await folder.names(), [name]);
});

Deno.test("two openme add at the same time lose nothing", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  await Deno.symlink("server.yaml", folder.file("link.yaml"));
  const names = ["b1", "b2", "b3", "b4"];
  const results = await Promise.all([
    ...names.map((name, i) => add(folder, [name], i % 2 ? "link.yaml" : "server.yaml")),
    add(folder, ["twin"]),
    add(folder, ["twin"]),
  ]);
  assert.deepEqual(results.map(({ code }) => code).sort(), [0, 0, 0, 0, 0, 1]);
  assert.deepEqual(
    results.find(({ code }) => code === 1),
    failure(
      1,
      `cannot add "twin": there is a client of that name`,
      "choose another name, or give it a new key: openme rotate twin",
    ),
  );
  const { clients } = await load(folder);
  assert.deepEqual(clients.map(({ name }) => name).sort(), ["alice", ...names, "twin"]);
  // Each profile that was printed is the one that is registered.
  for (const [i, name] of [...names, "twin"].entries()) {
    const result = i < names.length
      ? results[i]!
      : must(results.slice(4).find((r) => r.code === 0));
    const publicKey = must(/public_key: "(.*)"/.exec(result.stdout))[1]!;
    const client = must(clients.find((each) => each.name === name));
    assert.deepEqual(client.publicKey, decodeBase64(publicKey), name);
  }
  assert.deepEqual(await folder.names(), ["link.yaml", "server.yaml"]);
});

Deno.test("openme add does not touch a file that it cannot read whole", async () => {
  const rows = [
    {
      why: "everyone can read it",
      text: serverYaml(),
      mode: 0o644,
      error:
        `cannot load "server.yaml": it holds private keys, expected a mode such as 0600 or 0640, got 0644`,
      hint: "chmod o= server.yaml, and make new keys if others may have read it",
    },
    {
      why: "a client of it is wrong",
      text: serverYaml({ rest: "clients: {eve: {}}" }),
      mode: 0o600,
      error:
        `cannot load "server.yaml": clients.eve.ed25519_pubkey: expected the client's Ed25519 public key (32 bytes in base64), got nothing`,
      hint: undefined,
    },
    {
      why: "two clients have one key",
      text: serverYaml({
        rest:
          `clients: {a: {ed25519_pubkey: ${OTHER_PUBLIC}}, b: {ed25519_pubkey: ${OTHER_PUBLIC}}}`,
      }),
      mode: 0o600,
      error: /^cannot load "server\.yaml": clients\.b\.ed25519_pubkey: .* the key of "a" /,
      hint: "a knock could not tell the two apart: give each client its own key",
    },
  ];
  for (const { why, text, mode, error, hint } of rows) {
    await using folder = await Folder.create();
    await folder.write("server.yaml", text, mode);
    const result = await add(folder, ["bob", "--ports", "22/tcp"]);
    if (typeof error === "string") assert.deepEqual(result, failure(1, error, hint), why);
    else {
      assert.equal(result.code, 1, why);
      assert.equal(result.stdout, "", why);
      const [first, second] = result.stderr.split("\n");
      assert.match(first!.replace("openme: error: ", ""), error, why);
      assert.equal(second, `openme: hint: ${hint}`, why);
    }
    assert.equal(await folder.read("server.yaml"), text, why);
  }
});

Deno.test("a profile that cannot be printed undoes add and rotate: no client is left without its key", async () => {
  await using folder = await Folder.create();
  const before = await folder.write("server.yaml", serverYaml()).then(() =>
    folder.read("server.yaml")
  );
  const into = (target: string, args: string[]) =>
    openme([...args, "--config", "server.yaml"], {
      cwd: folder.path,
      through: ["sh", "-c", `exec "$@" ${target}`, "sh"],
    });
  const problem = (name: string, why: string) =>
    failure(
      1,
      `cannot print the profile of ${name}: ${why}; nothing has changed`,
      "see where standard output goes, or write the profile to a file: --out FILE",
    );
  // The runtime puts /dev/null where a closed standard output was.
  for (const target of [">&-", "> /dev/null"]) {
    for (const [name, args] of [["bob", ["add", "bob"]], ["alice", ["rotate", "alice"]]] as const) {
      assert.deepEqual(
        await into(target, [...args]),
        failure(
          1,
          `cannot print the profile of ${name}: standard output is closed, or leads to /dev/null; nothing has changed`,
          "the profile is shown once: let it go to a file, --out FILE, or into openme import",
        ),
        target,
      );
      assert.equal(await folder.read("server.yaml"), before);
    }
  }
  const full = "cannot write standard output: the disk is full";
  // Nor are files left of a client that there is not.
  const asWell = ["add", "bob", "--out", "bob.yaml", "--link"];
  assert.deepEqual(await into("> /dev/full", asWell), problem("bob", full));
  assert.equal(await folder.read("server.yaml"), before);
  assert.deepEqual(await folder.names(), ["server.yaml"]);
  assert.deepEqual(await folder.names(), ["server.yaml"]);

  // A pipe whose reading end is closed before openme starts.
  const { code, stderr } = await openme(["add", "bob", "--config", "server.yaml"], {
    cwd: folder.path,
    through: [
      "bash",
      "-c",
      'exec 3> >(exec sleep 0); wait $!; exec "$@" >&3',
      "bash",
    ],
  });
  assert.deepEqual(
    { code, stdout: "", stderr },
    problem("bob", "Broken pipe (os error 32)"),
  );
  assert.equal(await folder.read("server.yaml"), before);
});

Deno.test("openme add --json prints what was done, and the profile goes where it is told to", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  const before = await folder.read("server.yaml");
  assert.deepEqual(
    await add(folder, ["bob", "--json"]),
    failure(
      2,
      "--json prints what was done, and not the profile",
      "say where the profile goes: --out FILE, or --link to have it in the JSON",
    ),
  );
  assert.equal(await folder.read("server.yaml"), before);
  const { code, stdout } = await add(folder, ["bob", "--json", "--out", "bob.yaml"]);
  assert.equal(code, 0);
  const config = await load(folder);
  const bob = must(config.clients.find(({ name }) => name === "bob"));
  assert.deepEqual(JSON.parse(stdout), {
    client: "bob",
    fingerprint: fingerprint(bob.publicKey),
    public_key: encodeBase64(bob.publicKey),
    ports: ["22/tcp"],
    conditions: null,
    extensions: [],
    prefix: { v4: 32, v6: 128 },
    expires_at: null,
    previous_key: null,
    changed: true,
    profile: "default",
    file: "bob.yaml",
  });
  assert.match(await folder.read("bob.yaml"), /private_key/);
  const carol = await add(folder, ["carol", "--json", "--link"]);
  assert.match(JSON.parse(carol.stdout).link, /^openme:\/\/import\?.*client_privkey=/);
});
