/** `openme knock`: one fresh knock to every address of a server, and no output. */

import assert from "node:assert/strict";
import { formatAddress } from "../../lib/values/address.ts";
import { bytesToHex } from "../../lib/crypto/keys.ts";
import { PACKET_SIZE, unsealKnock } from "../../lib/packet.ts";
import { skip, testWith } from "../support/programs.ts";
import {
  agreeAsServer,
  ALICE,
  BOB,
  freshRules,
  outcome,
  outcomeOf,
  SOURCE,
} from "../support/knocks.ts";
import { ALICE_PRIVATE, profilesYaml, SERVER_PUBLIC } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { bareEnvironment, failure, good, mapSome, openme, openmeOnTerminal } from "./program.ts";
import { judge } from "../support/judge.ts";

/** Too long for a name, so that no name server is asked. */
const NO_NAME = "x".repeat(64);
const SENT_HINT = "the knock itself was sent";

/** A socket in place of a server's knock port. */
class KnockPort implements AsyncDisposable {
  readonly #socket: Deno.DatagramConn;
  readonly #hostname: string;

  constructor(hostname = "127.0.0.1", port = 0) {
    this.#hostname = hostname;
    this.#socket = Deno.listenDatagram({ transport: "udp", hostname, port });
  }

  get port(): number {
    return (this.#socket.addr as Deno.NetAddr).port;
  }

  /** Everything that has arrived since the last time. Loopback is quick: what was sent before this call is here. */
  async received(): Promise<Uint8Array[]> {
    const end = crypto.getRandomValues(new Uint8Array(32));
    await this.#socket.send(end, {
      transport: "udp",
      hostname: this.#hostname,
      port: this.port,
    });
    const all: Uint8Array[] = [];
    for (;;) {
      const [datagram] = await this.#socket.receive(new Uint8Array(2048));
      if (datagram.length === end.length && datagram.every((byte, i) => byte === end[i])) {
        return all;
      }
      all.push(datagram.slice());
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    return Promise.resolve();
  }
}

/** The only one of these; fails where there are more or fewer. */
function only<T>(items: readonly T[]): T {
  assert.equal(items.length, 1);
  return items[0]!;
}

/** What the server reads in a knock, before the gate judges it. */
function read(datagram: Uint8Array) {
  const unsealed = unsealKnock(datagram, agreeAsServer);
  assert.ok(typeof unsealed !== "string", `cannot be read: ${unsealed}`);
  const { target } = unsealed;
  return { ...unsealed, target: target && formatAddress(target) };
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

Deno.test("openme knock sends one knock, which the gate takes once, and says nothing", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  const file = await folder.write("client.yaml", profilesYaml({ home: { port: server.port } }));
  const fromNs = nowNs();
  assert.deepEqual(await openme(["knock", "--client-config", file]), good());
  const datagram = only(await server.received());
  assert.equal(datagram.length, PACKET_SIZE);
  assert.equal(PACKET_SIZE, 165);

  const rules = freshRules({ clients: [BOB, ALICE] });
  const verdict = judge(datagram, SOURCE, nowNs(), rules);
  assert.equal(outcomeOf(verdict), "grant");
  assert.ok(verdict.kind === "grant");
  assert.equal(verdict.client, ALICE);
  assert.equal(verdict.address, SOURCE);
  assert.ok(fromNs <= verdict.timestampNs && verdict.timestampNs <= nowNs());
  assert.equal(outcome(datagram, rules, { nowNs: nowNs() }), "replay");
});

Deno.test("openme knock makes every knock anew", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  const file = await folder.write("client.yaml", profilesYaml({ home: { port: server.port } }));
  const runs = await mapSome([1, 2, 3], () => openme(["knock", "--client-config", file]));
  assert.deepEqual(runs, [good(), good(), good()]);
  const knocks = await server.received();
  assert.equal(knocks.length, 3);
  const parts = (from: number, to: number) =>
    new Set(knocks.map((knock) => bytesToHex(knock.subarray(from, to))));
  assert.equal(parts(1, 33).size, 3, "ephemeral keys");
  assert.equal(parts(33, 45).size, 3, "AEAD nonces");
  const nonces = knocks.map((knock) => bytesToHex(read(knock).randomNonce));
  assert.equal(new Set(nonces).size, 3, "random nonces");
  const rules = freshRules();
  for (const knock of knocks) assert.equal(outcome(knock, rules, { nowNs: nowNs() }), "grant");
});

Deno.test("openme knock --ip lets in that address, and only a wildcard without it", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  const file = await folder.write("client.yaml", profilesYaml({ home: { port: server.port } }));
  const rows: [args: string[], target: string | undefined][] = [
    [[], undefined],
    [["--ip", "203.0.113.9"], "203.0.113.9"],
    [["--ip=2001:DB8:0::9"], "2001:db8::9"],
    [["--ip", "::ffff:203.0.113.10"], "203.0.113.10"],
  ];
  for (const [args, target] of rows) {
    assert.deepEqual(await openme(["knock", ...args, "--client-config", file]), good());
    assert.equal(read(only(await server.received())).target, target, args.join(" "));
  }
});

Deno.test("openme knock takes the profile that is named, else the only one, else the default", async () => {
  await using folder = await Folder.create();
  await using one = new KnockPort();
  await using other = new KnockPort();
  const profiles = { one: { port: one.port }, default: { port: other.port } };
  await folder.write("two.yaml", profilesYaml(profiles));
  await folder.write("single.yaml", profilesYaml({ one: { port: one.port } }));
  await Deno.mkdir(folder.file(".openme"));
  await folder.write(".openme/config.yaml", profilesYaml({ home: { port: one.port } }));
  const env = await bareEnvironment({ HOME: folder.path });
  const rows: [args: string[], port: KnockPort, silent: KnockPort][] = [
    [["one", "--client-config", "two.yaml"], one, other],
    [["--client-config", "two.yaml", "default"], other, one],
    [["--client-config=two.yaml"], other, one],
    [["--client-config", "single.yaml"], one, other],
    [[], one, other], // ~/.openme/config.yaml
  ];
  for (const [args, port, silent] of rows) {
    assert.deepEqual(await openme(["knock", ...args], { cwd: folder.path, env }), good());
    read(only(await port.received()));
    assert.deepEqual(await silent.received(), [], args.join(" "));
  }
});

Deno.test("openme knock reaches every address of a name, or those of one family", async (t) => {
  await using folder = await Folder.create();
  // Names mean what a file says, in a mount namespace of the program's own.
  const hosts = await folder.write("hosts", "127.0.0.1 box.test localhost\n::1 box.test\n", 0o644);
  const through = [
    "unshare",
    "-rm",
    "sh",
    "-c",
    'mount --bind "$0" /etc/hosts && exec "$@"',
    hosts,
  ];
  const missing = await whyNoHosts(through);
  if (missing !== undefined) {
    await skip(t, missing);
    return;
  }
  await using v4 = new KnockPort("127.0.0.1");
  await using v6 = new KnockPort("::1", v4.port);
  const config = await folder.write(
    "client.yaml",
    profilesYaml({ box: { host: "box.test", port: v4.port } }),
  );
  const knock = (...args: string[]) =>
    openme(["knock", ...args, "--client-config", config], { through });

  assert.deepEqual(await knock(), good());
  const knocks = [only(await v4.received()), only(await v6.received())];
  assert.deepEqual(knocks.map((each) => read(each).target), [undefined, undefined]);
  const rules = freshRules();
  for (const each of knocks) assert.equal(outcome(each, rules, { nowNs: nowNs() }), "grant");

  for (const [flag, port, silent] of [["-4", v4, v6], ["-6", v6, v4]] as const) {
    assert.deepEqual(await knock(flag), good());
    only(await port.received());
    assert.deepEqual(await silent.received(), []);
  }
  // The address that is to be let in does not decide how the knock travels.
  assert.deepEqual(await knock("--ip", "2001:db8::9"), good());
  assert.equal(read(only(await v4.received())).target, "2001:db8::9");
  assert.equal(read(only(await v6.received())).target, "2001:db8::9");
});

/** Why names cannot be given to a program here, if so. */
async function whyNoHosts(through: readonly string[]): Promise<string | undefined> {
  const [file, ...args] = [...through, "true"];
  try {
    const { success } = await new Deno.Command(file!, { args, stdout: "null", stderr: "null" })
      .output();
    return success ? undefined : "needs root or user namespaces";
  } catch {
    return "needs unshare";
  }
}

Deno.test("openme knock runs post_knock once, as it is written, with nothing put into it", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  // What other programs would put something into, and everything that openme could have added.
  const line = String.raw`
    { printf '%s' "$# $* %h {ip} {{.ServerHost}}"; printf ' '; cat; } >> ran
    env -0 | LC_ALL=C sort -z | tr '\0' '\n' > environment
    echo out; echo err >&2`;
  const profile = { home: { port: server.port, postKnock: line } };
  const file = await folder.write("client.yaml", profilesYaml(profile));
  const env = await bareEnvironment({ MINE: "as it was" });
  const result = await openme(["knock", "--client-config", file], { cwd: folder.path, env });
  // Standard output is openme's alone.
  assert.deepEqual(result, good(["out", "err"]));
  only(await server.received());
  assert.equal(await folder.read("ran"), "0  %h {ip} {{.ServerHost}} ");
  const shellsOwn = /^(PWD|OLDPWD|SHLVL|_)=/;
  assert.deepEqual(
    (await folder.read("environment")).trim().split("\n").filter((each) => !shellsOwn.test(each)),
    Object.entries(env).map(([name, value]) => `${name}=${value}`).sort(),
  );
});

Deno.test("what post_knock prints never gets into the JSON of openme knock", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  const profile = { home: { port: server.port, postKnock: "echo from the line" } };
  const file = await folder.write("client.yaml", profilesYaml(profile));
  const { code, stdout, stderr } = await openme(["knock", "--json", "--client-config", file]);
  assert.deepEqual([code, stderr], [0, "from the line\n"]);
  assert.equal(JSON.parse(stdout).profile, "home");
});

Deno.test("openme knock tells when post_knock fails, and that the knock was sent", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  const profile = (postKnock: string) => ({ port: server.port, postKnock });
  const profiles = {
    code: profile("exit 7"),
    signal: profile("kill -9 $$"),
    missing: profile("/no/such/program 2>/dev/null"),
  };
  const file = await folder.write("client.yaml", profilesYaml(profiles));
  const rows = [
    ["code", failure(1, "post_knock failed with exit code 7", SENT_HINT)],
    ["signal", failure(1, "post_knock was ended by SIGKILL", SENT_HINT)],
    ["missing", failure(1, "post_knock failed with exit code 127", SENT_HINT)],
  ] as const;
  for (const [name, expected] of rows) {
    assert.deepEqual(await openme(["knock", name, "--client-config", file]), expected);
    only(await server.received());
  }
  // A machine without a shell.
  const env = await bareEnvironment({ PATH: folder.path });
  assert.deepEqual(
    await openme(["knock", "code", "--client-config", file], { env }),
    failure(1, "cannot run post_knock: there is no program sh", SENT_HINT),
  );
  only(await server.received());
});

Deno.test("openme knock says what is wrong with the profile, and sends nothing", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  const ran = folder.file("ran");
  const at = { port: server.port, postKnock: `touch ${ran}` };
  const two = profilesYaml({ home: at, work: at });
  const LOW_ORDER = btoa("\0".repeat(32));
  const files: Record<string, string> = {
    two,
    none: "profiles: {}\n",
    empty: "",
    unreachable: profilesYaml({ box: { ...at, host: NO_NAME } }),
    low: two.replaceAll(SERVER_PUBLIC, LOW_ORDER),
    broken: two.replace("server_host", "\tserver_host"),
  };
  for (const [name, text] of Object.entries(files)) await folder.write(`${name}.yaml`, text);
  await folder.write("open.yaml", two, 0o644);
  await folder.write("bytes.yaml", Uint8Array.of(0xff, 0xff));
  const in_ = (file: string, problem: string) => `cannot load "${file}.yaml": ${problem}`;
  const rows = [
    {
      args: ["hom", "--client-config", "two.yaml"],
      result: failure(
        1,
        in_("two", 'profiles: there is no profile "hom"; there is home, work'),
        `did you mean "home"?`,
      ),
    },
    {
      args: ["\x1b[1m", "--client-config", "two.yaml"],
      result: failure(
        1,
        in_("two", 'profiles: there is no profile "\\u001b[1m"; there is home, work'),
        "name the one to use, such as home",
      ),
    },
    {
      args: ["--client-config", "two.yaml"],
      result: failure(
        1,
        in_("two", `profiles: expected a profile called "default", got home, work`),
        "name the one to use, such as home",
      ),
    },
    {
      args: ["--client-config", "none.yaml"],
      result: failure(
        1,
        in_("none", `profiles: expected a profile called "default", got none`),
        "get a profile from the server: openme add NAME",
      ),
    },
    {
      args: ["--client-config", "empty.yaml"],
      result: failure(1, in_("empty", "the file: expected a map, got nothing")),
    },
    {
      args: ["--client-config", "missing.yaml"],
      result: failure(
        1,
        in_("missing", "there is no such file"),
        "get a profile from the server: openme add NAME",
      ),
    },
    {
      args: ["home", "--client-config", "open.yaml"],
      result: failure(
        1,
        in_("open", "it holds private keys, expected a mode such as 0600 or 0640, got 0644"),
        "chmod o= open.yaml, and make new keys if others may have read it",
      ),
    },
    {
      args: ["--client-config", "bytes.yaml"],
      result: failure(1, in_("bytes", "it is not UTF-8 text")),
    },
    {
      args: ["home", "-6", "--client-config", "two.yaml"],
      result: failure(1, "127.0.0.1 has no IPv6 address", "leave out -6"),
    },
    {
      args: ["--client-config", "unreachable.yaml"],
      result: failure(
        1,
        `cannot resolve ${NO_NAME}: getaddrinfo ENOTFOUND ${NO_NAME}`,
        "check server_host in the profile, and this machine's DNS",
      ),
    },
  ];
  const results = await mapSome(rows, async ({ args }) => ({
    args,
    result: await openme(["knock", ...args], { cwd: folder.path }),
  }));
  assert.deepEqual(results, rows);

  const [low, broken] = await mapSome(
    ["low.yaml", "broken.yaml"],
    (file) => openme(["knock", "home", "--client-config", file], { cwd: folder.path }),
  );
  assert.equal(low!.code, 1);
  assert.match(
    low!.stderr,
    /^openme: error: cannot load "low\.yaml": profiles\.home\.server_pubkey: expected /,
  );
  assert.equal(broken!.code, 1);
  assert.match(broken!.stderr, /^openme: error: cannot load "broken\.yaml": line 3, column \d+: /);

  assert.deepEqual(await server.received(), []);
  assert.ok(!(await folder.names()).includes("ran"), "post_knock is for knocks that were sent");
});

Deno.test("openme knock needs a home only where no file is named", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  const file = await folder.write(
    "client.yaml",
    profilesYaml({ home: { port: server.port } }),
    0o640,
  );
  const homeless = failure(
    2,
    "cannot tell where the profiles are: HOME is not set",
    "name the file: --client-config FILE",
  );
  for (const home of [{}, { HOME: "" }] as Record<string, string>[]) {
    const env = await bareEnvironment(home);
    assert.deepEqual(await openme(["knock"], { env }), homeless);
    assert.deepEqual(await openme(["knock", "--client-config", file], { env }), good());
    only(await server.received());
  }
  const env = await bareEnvironment({ HOME: folder.path });
  assert.deepEqual(
    await openme(["knock"], { env }),
    failure(
      1,
      `cannot load "${folder.path}/.openme/config.yaml": there is no such file`,
      "get a profile from the server: openme add NAME",
    ),
  );
});

Deno.test("openme knock never repeats a private key, wherever in the file it is", async () => {
  await using folder = await Folder.create();
  const rows = [
    `profiles:\n  private_key: ${ALICE_PRIVATE}\n  server_host: h\n`,
    `private_key: ${ALICE_PRIVATE}\n`,
    profilesYaml({ home: { host: ALICE_PRIVATE } }),
    profilesYaml({ home: {} }).replace("private_key: ", "private_key:"),
    profilesYaml({ home: {} }).replace("private_key: ", "private_key "),
    ALICE_PRIVATE,
  ];
  const codes = await mapSome(rows, async (text) => {
    const file = await folder.write(`${rows.indexOf(text)}.yaml`, text);
    return (await openme(["knock", "--client-config", file])).code; // looks for secrets itself
  });
  assert.deepEqual(codes, rows.map(() => 1));
});

testWith(["script"], "openme knock tells a person at a terminal where it knocked", async () => {
  await using folder = await Folder.create();
  await using server = new KnockPort();
  const file = await folder.write("client.yaml", profilesYaml({ home: { port: server.port } }));
  const result = await openmeOnTerminal(["knock", "--client-config", file]);
  assert.deepEqual(result, { code: 0, shown: "openme: knocked at 127.0.0.1 (127.0.0.1)\n" });
  only(await server.received());
});
