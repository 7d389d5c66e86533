/** What openme says of itself, and of a command line that it does not understand. */

import assert from "node:assert/strict";
import { COMMANDS } from "../../lib/cli/catalog.ts";
import { renderGlobalHelp } from "../../lib/cli/commands/help.ts";
import { VERSION } from "../../lib/values/version.ts";
import { ALICE_PUBLIC, profilesYaml, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { failure, good, mapSome, openme, type Result } from "./program.ts";

Deno.test("openme --version tells the version", async () => {
  assert.deepEqual(await openme(["--version"]), good([], `openme ${VERSION}\n`));
});

Deno.test("openme --help names every command; without one it is the same text, and a failure", async () => {
  const [long, short, bare] = await mapSome([["--help"], ["-h"], []], (args) => openme(args));
  assert.equal(long!.code, 0);
  assert.equal(long!.stderr, "");
  assert.match(long!.stdout, /^openme hides a server's ports until a knock opens them\.\n/);
  for (const [name, { summary }] of Object.entries(COMMANDS)) {
    assert.ok(long!.stdout.includes(`\n  ${name.padEnd(10)} ${summary}\n`), name);
  }
  assert.ok(long!.stdout.includes(renderGlobalHelp()));
  assert.deepEqual(short, long);
  assert.deepEqual(bare, { code: 2, stdout: "", stderr: long!.stdout });
});

Deno.test("openme COMMAND --help tells the usage and every flag", async () => {
  const names = Object.keys(COMMANDS);
  const texts = await mapSome(names, (name) => openme([name, "--help"]));
  for (const [i, name] of names.entries()) {
    const { code, stdout, stderr } = texts[i]!;
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" }, name);
    assert.match(stdout, new RegExp(`^Usage: openme ${name}\\b`, "m"));
    assert.match(stdout, /^Example:\n {2}\S/m);
    assert.ok(stdout.endsWith(renderGlobalHelp()), name);
    assert.doesNotMatch(stdout.replaceAll(/^ +.*$/gm, ""), /.{81}/, name);
  }
  // Before the command or after it, short or long, beside other arguments.
  const others = [["-h", "knock"], ["knock", "-h"], ["knock", "home", "--ip", "x", "--help"]];
  for (const result of await mapSome(others, (args) => openme(args))) {
    assert.deepEqual(result, texts[names.indexOf("knock")]);
  }
});

Deno.test("openme ends quietly, as of SIGPIPE, once the reader of its output is gone", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  const rows = [["--help"], ["--version"], ["knock", "--help"], ["man"], ["help"], [
    "list",
    "--config",
    "server.yaml",
  ]];
  const results = await mapSome(rows, (args) =>
    openme(args, {
      cwd: folder.path,
      through: ["bash", "-c", 'exec 3> >(exec sleep 0); wait $!; exec "$@" >&3', "bash"],
    }));
  for (const [i, result] of results.entries()) {
    assert.deepEqual(result, { code: 141, stdout: "", stderr: "" }, rows[i]!.join(" "));
  }
  // Any other fault of it is told.
  const full = await openme(["--version"], { through: ["sh", "-c", 'exec "$@" >/dev/full', "sh"] });
  assert.deepEqual([
    full.code,
    /^openme: error: cannot write standard output: the disk is full\n/.test(full.stderr),
  ], [1, true]);
});

/** One wrong use: nothing is done, nothing is on stdout, and the two lines say what was wrong. */
interface Row {
  readonly args: string[];
  readonly result: Result;
}

const usage = (args: string[], error: string, hint?: string): Row => ({
  args,
  result: failure(2, error, hint),
});
const failed = (args: string[], error: string, hint?: string): Row => ({
  args,
  result: failure(1, error, hint),
});

const SERVER = ["--config", "server.yaml"];
const NAME_HINT =
  "letters, digits, dots, hyphens and underscores, the first one a letter, at most 64";
const PORTS_EXPECTED = `--ports: expected ports such as "22/tcp" or group names`;
const EXPIRES_EXPECTED =
  `--expires: expected a date such as "2027-12-31" or a time such as "2027-12-31T18:00:00Z", or a span such as "90d"`;
const INTERFACE_EXPECTED = `--interface: expected the name of a network interface, such as "eth0"`;
const HOLDABLE_HINT = "leave out --ip to let this machine in";

const ROWS: Row[] = [
  // Commands.
  usage(["nothing"], `unknown command "nothing"`, "see openme --help"),
  usage(["knok"], `unknown command "knok"`, "did you mean openme knock?"),
  usage(["sesions", "--json"], `unknown command "sesions"`, "did you mean openme sessions?"),
  usage(["\x1b[2J"], `unknown command "\\u001b[2J"`, "see openme --help"),
  // Options.
  usage(["--bogus"], `unknown option "--bogus"`, "see openme --help"),
  usage(["--verion"], `unknown option "--verion"`, "did you mean --version?"),
  usage(["--confg", "x", "knock"], `unknown option "--confg"`, "did you mean --config?"),
  usage(["--version", "x"], `unknown command "x"`, "see openme --help"),
  usage(["--bogus", "knock"], `unknown option "--bogus"`, "see openme knock --help"),
  usage(["knock", "--ipp", "192.0.2.1"], `unknown option "--ipp"`, "did you mean --ip?"),
  usage(
    ["knock", "--profile", "home"],
    `unknown option "--profile"`,
    "the profile goes without a flag: openme knock PROFILE",
  ),
  usage(["knock", "--log-levle", "x"], `unknown option "--log-levle"`, "did you mean --log-level?"),
  usage(["knock", "--ip", "-4"], "option --ip needs a value", "see openme knock --help"),
  usage(["knock", "--ipv4=yes"], "option --ipv4 takes no value", "see openme knock --help"),
  usage(["sessions", "--json=1"], "option --json takes no value", "see openme sessions --help"),
  usage(["init", "--server"], "option --server needs a value", "see openme init --help"),
  ...[["list", "--config="], ["knock", "--client-config="], ["confirm", "--state-dir="]].map((
    args,
  ) =>
    usage(
      args,
      `${args[1]!.slice(0, -1)}: expected a path, got ""`,
      "leave it out to use the default",
    )
  ),
  // One argument too many.
  usage(
    ["init", "x", "--server", "h"],
    `openme init: unexpected argument "x"`,
    "see openme init --help",
  ),
  usage(["add", "a", "\x07"], `openme add: unexpected argument "\\u0007"`, "see openme add --help"),
  usage(["knock", "a", "b"], `openme knock: unexpected argument "b"`, "see openme knock --help"),
  // init
  usage(
    ["init"],
    "openme init needs --server HOST, the name by which clients reach this server",
    "openme init --server vps.example.org",
  ),
  ...["", "h.example:22", "\x1b[1m"].map((host) =>
    usage(
      ["init", `--server=${host}`, "--config", "new.yaml"],
      `--server: expected a host name or an address, got ${JSON.stringify(host)}`,
    )
  ),
  ...["65536", "022"].map((port) =>
    usage(
      ["init", "--server", "h", `--port=${port}`, "--config", "new.yaml"],
      `--port: expected a port from 1 to 65535, got ${JSON.stringify(port)}`,
    )
  ),
  usage(
    ["init", "--server", "h", "--firewall", "pfsense", "--config", "new.yaml"],
    `--firewall: expected auto, nft, iptables, iptables-nft, iptables-legacy, pf, firewalld, command or none, got "pfsense"`,
  ),
  usage(
    ["init", "--server", "h", "--interface=eth*", "--config", "new.yaml"],
    `${INTERFACE_EXPECTED}, got "eth*"`,
  ),
  failed(
    ["init", "--server", "h", ...SERVER],
    `cannot write "server.yaml": it exists already`,
    "openme init --force replaces it, and every client needs a new profile then",
  ),
  // add
  usage(
    ["add", ...SERVER],
    "openme add needs NAME",
    "see openme add --help",
  ),
  ...["ü", "a".repeat(65)].map((name) =>
    usage(
      ["add", ...SERVER, "--", name],
      `expected a client name, got ${JSON.stringify(name).replace("ü", "\\u00fc")}`,
      NAME_HINT,
    )
  ),
  usage(
    ["add", "\x1b]0;x\x07", ...SERVER],
    `expected a client name, got "\\u001b]0;x\\u0007"`,
    NAME_HINT,
  ),
  usage(
    ["add", "bob", "--profile", "\x1b[31m", ...SERVER],
    `expected a profile name, got "\\u001b[31m"`,
    NAME_HINT,
  ),
  usage(["add", "bob", "--profile=", ...SERVER], `expected a profile name, got ""`, NAME_HINT),
  usage(
    ["add", "bob", "--ports", "ssh,22/tpc", ...SERVER],
    `${PORTS_EXPECTED}, got "22/tpc"`,
    "groups here: ssh",
  ),
  usage(
    ["add", "bob", "--ports", "ssh,90-80/tcp", ...SERVER],
    `${PORTS_EXPECTED}, got "90-80/tcp"`,
    `the lower port goes first: "80-90/tcp"`,
  ),
  ...[["group.yaml", "ports.web[0]"], ["client.yaml", "clients.bob.allowed_ports[0]"]]
    .map(([file, path]) =>
      failed(
        ["check", "--config", `backwards_${file}`],
        `cannot load "backwards_${file}": ${path}: expected a port such as "22/tcp" or a group name, got "90-80/tcp"`,
        `the lower port goes first: "80-90/tcp"`,
      )
    ),
  usage(
    ["add", "bob", "--ports", "ssh,", ...SERVER],
    `${PORTS_EXPECTED}, got ""`,
    "groups here: ssh",
  ),
  usage(
    ["add", "bob", "--config", "no_groups.yaml"],
    "cannot tell which ports the client may have: expected --ports",
    "such as --ports 22/tcp",
  ),
  usage(
    ["add", "bob", "--config", "two_groups.yaml"],
    "cannot tell which ports the client may have: expected --ports",
    "groups here: ssh, web",
  ),
  ...["tomorrow", "2030-02-30"].map(
    (date) =>
      usage(
        ["add", "bob", `--expires=${date}`, ...SERVER],
        `${EXPIRES_EXPECTED}, got ${JSON.stringify(date)}`,
      ),
  ),
  usage(
    ["add", "bob", "--expires", "2020-01-01", ...SERVER],
    `--expires: expected a time to come, got "2020-01-01"`,
  ),
  ...[
    "24",
    "24,64",
    "v4=24,v4=25",
    "v4=15",
    "v4=33",
    "v6=47",
    "v6=129",
    "v4=024",
    "v5=24",
    "v4=24,",
  ]
    .map((lengths) =>
      usage(
        ["add", "bob", "--prefix", lengths, ...SERVER],
        `--prefix: expected lengths in bits such as "v4=24,v6=64", got ${JSON.stringify(lengths)}`,
        "v4 from 16 to 32, v6 from 48 to 128, each once",
      )
    ),
  failed(
    ["add", "alice", ...SERVER],
    `cannot add "alice": there is a client of that name`,
    "choose another name, or give it a new key: openme rotate alice",
  ),
  failed(
    ["add", "bob", "--config", "no_host.yaml"],
    "cannot make a profile: the configuration does not say how clients reach this server",
    "add server.host: the server's name or address",
  ),
  failed(
    ["add", "bob", "--config", "missing.yaml"],
    `cannot load "missing.yaml": there is no such file`,
    "make one: openme init --server HOST",
  ),
  // serve
  usage(
    ["serve", `--interface=x"; drop`, ...SERVER],
    `${INTERFACE_EXPECTED}, got "x\\"; drop"`,
  ),
  usage(
    ["serve", "--log-level", "loud", ...SERVER],
    `--log-level: expected error, warn, info or debug, got "loud"`,
  ),
  usage(
    ["--log-format", "xml", "serve", ...SERVER],
    `--log-format: expected logfmt or json, got "xml"`,
  ),
  // sessions
  failed(
    ["sessions", "--config", "missing.yaml"],
    `cannot load "missing.yaml": there is no such file`,
    "make one: openme init --server HOST",
  ),
  failed(["sessions", "--config", "."], `cannot load ".": it is a directory`),
  // knock
  usage(
    ["knock", "-4", "-6"],
    "-4 and -6 exclude each other",
    "leave out both to knock over both",
  ),
  ...["", "home.example.org", "192.0.2.1\n"]
    .map((ip) =>
      usage(
        ["knock", `--ip=${ip}`],
        `--ip: expected an IPv4 or IPv6 address, got ${JSON.stringify(ip)}`,
        HOLDABLE_HINT,
      )
    ),
  ...["0.0.0.0", "::ffff:0.0.0.0", "127.0.0.1"]
    .map((ip) =>
      usage(
        ["knock", `--ip=${ip}`],
        `--ip: expected an address that a client can have, got "${ip}"`,
        HOLDABLE_HINT,
      )
    ),
];

Deno.test("a wrong use is an error with a hint, and nothing is done", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  await folder.write("client.yaml", profilesYaml({ home: {} }));
  await folder.write("no_groups.yaml", serverYaml({ rest: "" }));
  await folder.write("two_groups.yaml", serverYaml({ rest: "ports: {ssh: [22], web: [80]}" }));
  for (
    const [name, rest] of [
      ["group", "ports: {web: [90-80/tcp]}"],
      ["client", `clients: {bob: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [90-80/tcp]}}`],
    ]
  ) await folder.write(`backwards_${name}.yaml`, serverYaml({ rest: rest! }));
  await folder.write("no_host.yaml", serverYaml().replace(/^ {2}host: .*\n/m, ""));
  const before = await snapshot(folder);
  const results = await mapSome(ROWS, async ({ args }) => ({
    args,
    result: await openme(args, { cwd: folder.path }),
  }));
  assert.deepEqual(results, ROWS);
  assert.deepEqual(await snapshot(folder), before);
});

Deno.test("what serve starts says so where a person starts it", async () => {
  const through = ["sh", "-c", 'echo hello | "$@"', "sh"];
  const { code, stdout, stderr } = await openme(["__taker"], { through });
  assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
  assert.equal(
    stderr,
    `openme: error: __taker expected a message from openme serve on standard input
openme: hint: start openme serve: it starts this process itself
`,
  );
});

async function snapshot(folder: Folder): Promise<[name: string, text: string][]> {
  const names = await folder.names();
  return await Promise.all(names.map(async (name): Promise<[string, string]> => [
    name,
    await folder.read(name),
  ]));
}
