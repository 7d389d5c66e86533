/** `openme serve` without a firewall to speak of: an `nft` that only writes down what it is asked. */

import assert from "node:assert/strict";
import { keyPairOf } from "../../lib/crypto/keys.ts";
import { Program } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";
import { address, ALICE, knockBy } from "../support/knocks.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, SERVER_PRIVATE, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { commandLine, failure, freeUdpPort, mapSome, openme, type Result } from "./program.ts";

/** A place for one server: configuration, state, and an `nft` of its own. */
class Site implements AsyncDisposable {
  readonly folder: Folder;
  readonly port: number;

  private constructor(folder: Folder, port: number) {
    this.folder = folder;
    this.port = port;
  }

  /** `nft` is what the stand-in does beside writing down; by default it says that there are no rules. */
  static async create({ port = freeUdpPort(), nft = "" } = {}): Promise<Site> {
    const site = new Site(await Folder.create(), port);
    const { folder } = site;
    await folder.write("server.yaml", site.yaml());
    await Deno.mkdir(folder.file("bin"));
    await folder.write(
      "bin/nft",
      `#!/bin/sh
echo "nft $*" >>'${folder.file("asked")}'
if [ "$1" = -i ]; then
  while IFS= read -r line; do
    case "$line" in
      openme*done) printf 'Error: syntax error, unexpected newline\\n%s\\n' "$line" >&2 ;;
      *) echo "$line" >>'${folder.file("asked")}' ;;
    esac
  done
  exit
fi
[ "$1" != -f ] || cat >>'${folder.file("asked")}'
${nft}
[ "$1" != --json ] || echo '{"nftables": []}'
`,
      0o700,
    );
    return site;
  }

  yaml(server: string[] = [], rest?: string): string {
    return serverYaml({
      server: [
        `udp_port: ${this.port}`,
        "drop_ports: true",
        `state_dir: ${this.folder.file("state")}`,
        ...server,
      ],
      ...(rest === undefined ? {} : { rest }),
    });
  }

  /** Whatever `nft` was asked so far. */
  async asked(): Promise<string> {
    return (await this.folder.names()).includes("asked") ? await this.folder.read("asked") : "";
  }

  get env(): Record<string, string> {
    return { ...Deno.env.toObject(), PATH: `${this.folder.file("bin")}:${Deno.env.get("PATH")}` };
  }

  #args(args: readonly string[]): string[] {
    return ["serve", "--config", "server.yaml", ...args];
  }

  /** Runs it to an end that it should find by itself. */
  run(args: readonly string[] = []): Promise<Result> {
    return openme(this.#args(args), { cwd: this.folder.path, env: this.env });
  }

  /** Starts it and waits until it listens. */
  async start(args: readonly string[] = []): Promise<Program> {
    const [file, ...rest] = commandLine(this.#args(args));
    const program = new Program(file!, { args: rest, cwd: this.folder.path, env: this.env });
    try {
      await program.stderr.waitFor(/listening/, 15_000);
      return program;
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
  }

  async send(datagram: Uint8Array): Promise<void> {
    const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    await socket.send(datagram, { transport: "udp", hostname: "127.0.0.1", port: this.port });
    socket.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.folder[Symbol.asyncDispose]();
  }
}

const TARGET = address("198.51.100.20");

/** A knock by alice of this moment, for an address that she could have. */
async function knockNow(target = TARGET): Promise<Uint8Array> {
  const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
  return await knockBy(ALICE, {
    timestampNs: BigInt(Date.now()) * 1_000_000n,
    randomNonce: random(16),
    target,
  }, await keyPairOf("X25519", random(32)));
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`openme serve opens for a knock, and leaves with exit code 0 on ${signal}`, async () => {
    await using site = await Site.create();
    await using program = await site.start();
    assert.match(
      program.stderr.all.at(-1)!,
      new RegExp(
        `^time=\\S+Z level=info event=listening udp_port=${site.port} backend=nft drop_ports=true ` +
          `guarded=22/tcp,${site.port}/tcp clients=1 grants=0$`,
      ),
    );
    assert.match(await site.asked(), /^table inet openme \{$/m);
    await site.send(await knockNow());
    await program.stderr.waitFor(
      /event=granted client=alice address=198\.51\.100\.20 source=127\.0\.0\.1 ports=22\/tcp,\d+\/tcp lifetime=30s$/,
    );
    assert.match(
      await site.asked(),
      / set granted4 \{.* elements = \{ 198\.51\.100\.20 \. tcp/m,
    );

    const { code } = await program.kill(signal);
    assert.equal(code, 0, String(program.stderr));
    assert.match(program.stderr.all.at(-1)!, /level=info event=stopped backend=nft guard=removed$/);
    assert.deepEqual(program.stdout.all, []);
    const removal = "add table inet openme\ndelete table inet openme\n";
    assert.ok(
      (await site.asked()).endsWith(`nft -f -\n${removal}nft --json --terse list ruleset\n`),
    );
    assert.ok(!String(program.stderr).includes(SERVER_PRIVATE));

    // Nobody else reads what it keeps.
    assert.equal(await site.folder.mode("state"), 0o700);
    const kept = await Array.fromAsync(Deno.readDir(site.folder.file("state")));
    assert.ok(kept.some(({ name }) => name === "state.db"));
    for (const { name } of kept) {
      assert.equal(await site.folder.mode(`state/${name}`) & 0o077, 0, name);
    }
  });
}

Deno.test("openme serve puts grants back after a kill, and takes no knock again", async () => {
  await using site = await Site.create();
  const knock = await knockNow();
  {
    await using program = await site.start();
    await site.send(knock);
    await program.stderr.waitFor(/event=granted/);
    await program.kill("SIGKILL");
  }
  const { stdout } = await openme(["sessions", "--json", "--config", "server.yaml"], {
    cwd: site.folder.path,
  });
  const [session] = JSON.parse(stdout).grants;
  assert.deepEqual([session.client, session.address], ["alice", "198.51.100.20"]);
  assert.deepEqual(session.ports, ["22/tcp"]);

  await using program = await site.start(["--log-level", "debug"]);
  assert.match(program.stderr.all.at(-1)!, / grants=1$/);
  await site.send(knock);
  await program.stderr.waitFor(/event=dropped reason=replay source=127\.0\.0\.1 client=alice$/);
});

Deno.test("openme serve tells of drops at debug only, in the format that was asked for", async () => {
  for (const level of ["info", "debug"]) {
    await using site = await Site.create();
    await using program = await site.start(["--log-format", "json", "--log-level", level]);
    await site.send(new Uint8Array(164));
    await site.send(await knockNow()); // what comes after it tells that the first was dealt with
    await program.stderr.waitFor(/"event":"granted"/);
    const events = program.stderr.all.map((line) => JSON.parse(line));
    assert.deepEqual(
      events.filter(({ event }) => event === "dropped").map(({ time: _, ...fields }) => fields),
      level === "info"
        ? []
        : [{ level: "debug", event: "dropped", reason: "size", source: "127.0.0.1" }],
    );
  }
});

Deno.test("a second openme serve fails without harm", async () => {
  await using site = await Site.create();
  await using program = await site.start();
  const before = await site.asked();
  const [sameState, samePort, dry] = await mapSome(
    [["--interface", "lo"], ["--state-dir", site.folder.file("other")], ["--dry-run"]],
    (args) => site.run(args),
  );
  assert.deepEqual(
    sameState,
    failure(
      1,
      `another openme serve is running with the state directory "${site.folder.file("state")}"`,
      "stop that one first; it keeps running, and its guard stays in place",
    ),
  );
  assert.deepEqual(
    dry,
    failure(
      1,
      `another openme serve is running with the state directory "${site.folder.file("state")}"`,
      "openme plan --config server.yaml shows what a changed file would do",
    ),
  );
  assert.deepEqual(
    samePort,
    failure(
      1,
      `cannot listen on UDP port ${site.port}: another program has it`,
      `see which: ss -ulpn 'sport = :${site.port}'`,
    ),
  );
  // Whatever has been asked since is the first one's looking after its own.
  const asked = (await site.asked()).slice(before.length);
  assert.ok(!asked.includes("nft -f"), asked);
  await site.send(await knockNow());
  await program.stderr.waitFor(/event=granted/);
});

Deno.test("openme serve goes on where nobody reads its log any more", async () => {
  await using site = await Site.create();
  const [file, ...args] = commandLine(["serve", "--config", "server.yaml"]);
  const child = new Deno.Command(file!, {
    args,
    cwd: site.folder.path,
    env: site.env,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    const log = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("event=listening")) {
      const { value, done } = await log.read();
      assert.ok(!done, text);
      text += value;
    }
    await log.cancel(); // a log collector that has died: the pipe is broken from here on
    for (const target of ["198.51.100.20", "198.51.100.21"]) {
      await site.send(await knockNow(address(target)));
      await waitFor(`${target} to be let in`, async () => (await site.asked()).includes(target));
    }
    child.kill("SIGTERM");
    assert.equal((await child.status).code, 0);
    assert.match(await site.asked(), /^delete table inet openme\n(?!table)/m);
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended, as it should.
    }
    await child.status;
  }
});

Deno.test("a second signal ends openme serve at once", async () => {
  // Taking the rules out hangs.
  const nft = `[ "$1" = -f ] && [ -e stop ] && { echo $$ >pid; exec sleep 60; }`;
  await using site = await Site.create({ nft });
  await using program = await site.start();
  await site.folder.write("stop", "");
  program.signal("SIGTERM");
  await waitFor(
    "the firewall to hang",
    async () => (await site.folder.names()).includes("pid"),
    { everyMs: 10 },
  );
  const { code } = await program.kill("SIGTERM");
  assert.equal(code, 143);
  const pid = Number(await waitFor("the pid", () => site.folder.read("pid")));
  Deno.kill(pid, "SIGKILL");
});

Deno.test("openme serve touches no firewall where it cannot begin", async () => {
  await using site = await Site.create();
  const { folder } = site;
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "::", port: 0 });
  const takenPort = (taken.addr as Deno.NetAddr).port;
  try {
    await folder.write(
      "taken.yaml",
      site.yaml().replace(/udp_port: \d+/, `udp_port: ${takenPort}`),
    );
    await folder.write("open.yaml", site.yaml(), 0o604);
    await folder.write("file", "");
    for (const name of ["lock_damaged", "newer", "no_database"]) {
      await Deno.mkdir(folder.file(name));
    }
    await folder.write("lock_damaged/lock", "not a lock".repeat(100));
    await Deno.symlink("nowhere/state.db", folder.file("no_database/state.db"));
    await makeNewer(folder.file("newer"));
    const rows = [
      {
        args: ["--config", "missing.yaml"],
        error: `cannot load "missing.yaml": there is no such file`,
        hint: "make one: openme init --server HOST",
      },
      {
        args: ["--config", "open.yaml"],
        error:
          `cannot load "open.yaml": it holds private keys, expected a mode such as 0600 or 0640, got 0604`,
        hint: "chmod o= open.yaml, and make new keys if others may have read it",
      },
      {
        args: ["--config", "taken.yaml"],
        error: `cannot listen on UDP port ${takenPort}: another program has it`,
        hint: `see which: ss -ulpn 'sport = :${takenPort}'`,
      },
      {
        args: ["--state-dir", "file/state"],
        error: /^cannot make the state directory "file\/state": Not a directory/,
        hint: "run openme as root, or choose another folder with --state-dir",
      },
      {
        args: ["--state-dir", "lock_damaged"],
        error: `cannot lock "lock_damaged/lock": file is not a database`,
        hint: "the file holds nothing: remove it if it is damaged",
      },
      {
        args: ["--state-dir", "newer"],
        error: `cannot use "newer/state.db": a newer openme made it`,
        hint: "run that version, or move the file away",
      },
      {
        args: ["--state-dir", "no_database"],
        error: /^cannot open the state database "no_database\/state\.db": unable to open database/,
        hint:
          "openme must be able to write there: run it as root, or choose another folder with --state-dir",
      },
    ];
    // One after the other: some get as far as to the port.
    for (const { args, error, hint } of rows) {
      const result = await site.run(args);
      if (typeof error === "string") assert.deepEqual(result, failure(1, error, hint));
      else {
        const [first, ...others] = result.stderr.split("\n");
        assert.match(first!.replace("openme: error: ", ""), error);
        assert.deepEqual(
          { ...result, stderr: others.join("\n") },
          { code: 1, stdout: "", stderr: `openme: hint: ${hint}\n` },
        );
      }
    }
    assert.equal(await site.asked(), "");
  } finally {
    taken.close();
  }
});

Deno.test("openme serve takes no state directory that others may write, and closes its own to readers", async () => {
  await using site = await Site.create();
  const { folder } = site;
  const HINT =
    "see that nobody has put anything there, then chmod 0700 it; or choose another with --state-dir";
  for (const mode of [0o777, 0o1777, 0o720, 0o702]) {
    await Deno.mkdir(folder.file("open"), { recursive: true });
    await Deno.chmod(folder.file("open"), mode);
    const shown = mode.toString(8).padStart(4, "0");
    assert.deepEqual(
      await site.run(["--state-dir", "open"]),
      failure(
        1,
        `cannot use the state directory "open": expected the mode 0700, got ${shown}: others may write there`,
        HINT,
      ),
    );
    assert.equal(await folder.mode("open"), mode, "it stays as it was");
  }
  assert.deepEqual(await Array.fromAsync(Deno.readDir(folder.file("open"))), []);
  assert.equal(await site.asked(), "");
  if (Deno.uid() === 0) {
    await Deno.chmod(folder.file("open"), 0o700);
    // A user namespace may have one user only; what is root's outside belongs to nobody there.
    const [others, owner] = await Deno.chown(folder.file("open"), 12345, 0)
      .then(() => ["open", 12345], () => ["/", 65534]);
    const result = await site.run(["--state-dir", String(others)]);
    const expected = "expected a folder of this user (0), got one of user " + owner;
    assert.ok(
      result.stderr.startsWith(
        `openme: error: cannot use the state directory "${others}": ${expected}\n`,
      ),
      result.stderr,
    );
    assert.equal(result.code, 1);
  }
  for (const [name, others, mode] of [["own", [], 0o700], ["shared", ["notes"], 0o755]] as const) {
    await Deno.mkdir(folder.file(name));
    await folder.write(`${name}/lock`, "");
    for (const other of others) await folder.write(`${name}/${other}`, "");
    await Deno.chmod(folder.file(name), 0o755);
    await using program = await site.start(["--state-dir", name]);
    assert.equal(await folder.mode(name), mode);
    assert.equal(await folder.mode(`${name}/state.db`), 0o600);
    assert.equal((await program.kill("SIGTERM")).code, 0);
  }
});

async function makeNewer(dir: string): Promise<void> {
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(`${dir}/state.db`);
  database.exec("PRAGMA user_version = 1000");
  database.close();
}

Deno.test("openme serve tells what the firewall says where that fails", async () => {
  const HINT = /^openme: hint: see whether nft works here by itself/;
  const rows = [
    {
      nft: "echo 'Error: syntax error, unexpected junk' >&2; exit 3",
      error: /^nft .+ failed with exit code 3: Error: syntax error, unexpected junk$/,
      hint: HINT,
    },
    {
      nft: "printf 'netlink: Operation not permitted\\n\\033[2Jmore\\n' >&2; exit 1",
      error: /^nft .+ failed with exit code 1: netlink: Operation not permitted; \\u001b\[2Jmore$/,
      hint: /^openme: hint: run openme as root, or give it the capability CAP_NET_ADMIN$/,
    },
    { nft: "kill -TERM $$", error: /^nft .+ was ended by SIGTERM$/, hint: HINT },
    { nft: `[ "$1" != -f ] || exit 1`, error: /^nft -f - failed with exit code 1$/, hint: HINT },
    {
      nft: `[ "$1" != --json ] || { echo nonsense; exit 0; }`,
      error: /^cannot read what nft lists of this host's rules$/,
      hint: /nftables 1\.0 or newer$/,
    },
  ];
  const results = await mapSome(rows, async ({ nft }) => {
    await using site = await Site.create({ nft });
    return await site.run();
  });
  for (const [i, { error, hint }] of rows.entries()) {
    const { code, stdout, stderr } = results[i]!;
    assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
    const [first, second, ...more] = stderr.split("\n");
    assert.match(first!, /^openme: error: /);
    assert.match(first!.slice("openme: error: ".length), error);
    assert.match(second!, hint);
    assert.deepEqual(more, [""]);
  }
});

Deno.test("openme serve takes a changed configuration at once, and nothing of one that is wrong", async () => {
  await using site = await Site.create();
  await using program = await site.start(["--log-level", "debug"]);
  const knock = async (event: RegExp) => {
    const seen = program.stderr.all.length;
    await site.send(await knockNow());
    await program.stderr.waitFor(event, 5000, seen);
  };
  await knock(/event=granted client=alice/);
  const change = async (text: string, event: RegExp) => {
    const seen = program.stderr.all.length;
    // As editors and openme do it: another file in its place.
    await site.folder.write("new.yaml", text);
    await Deno.rename(site.folder.file("new.yaml"), site.folder.file("server.yaml"));
    return await program.stderr.waitFor(event, 5000, seen);
  };
  const wrong = await change(site.yaml(["nonsense: 1"]), /level=error/);
  assert.match(
    wrong,
    /event=config_rejected error="cannot load \\"server\.yaml\\": server\.nonsense: unknown key" hint=".*" doing="going on with the old configuration"$/,
  );
  await change(
    site.yaml([], "clients: {}"),
    /event=withdrawn client=alice address=198\.51\.100\.20/,
  );
  await knock(/event=dropped reason=signature/);
  await change(site.yaml(), /event=reloaded .* clients=1 grants=0$/);
  await knock(/event=granted client=alice/);
  assert.equal((await program.kill("SIGTERM")).code, 0);
});

Deno.test("openme serve leaves at its stop what on_stop says then, not what it said at the start", async () => {
  await using site = await Site.create();
  await using program = await site.start();
  await site.folder.write("server.yaml", site.yaml(["on_stop: closed"]));
  await program.stderr.waitFor(/event=reloaded/);
  assert.equal((await program.kill("SIGTERM")).code, 0);
  assert.match(program.stderr.all.at(-1)!, /event=stopped backend=nft guard="left closed"/);
});

Deno.test("openme serve warns where the configuration asks to guard the knock port", async () => {
  await using site = await Site.create();
  await site.folder.write("server.yaml", site.yaml([], `ports: {vpn: [${site.port}/udp]}`));
  await using program = await site.start();
  assert.match(
    program.stderr.all.join("\n"),
    new RegExp(
      `level=warn event=never_guarded why="ports\\.vpn: ${site.port}/udp takes knocks, and is never guarded`,
    ),
  );
  assert.equal((await program.kill("SIGTERM")).code, 0);
});

Deno.test("openme serve takes a configuration that changed while it was starting", async () => {
  // The moment in which the table is put in place is after the file was read.
  const nft = `[ "$1" != -f ] || [ ! -e new.yaml ] || mv new.yaml server.yaml`;
  await using site = await Site.create({ nft });
  await site.folder.write("new.yaml", site.yaml([], "clients: {}"));
  await using program = await site.start();
  assert.match(String(program.stderr), /event=listening .* clients=1 /);
  await program.stderr.waitFor(/event=reloaded .* clients=0 /, 3000);
});

/** One wrong file of every kind; tests/config_*.test.ts have the whole table. */
interface WrongConfig {
  readonly server?: string[];
  readonly rest?: string;
  readonly text?: string;
  readonly error: string;
  readonly hint?: string;
}

const WRONG_CONFIGS: WrongConfig[] = [
  { text: "", error: "the file: expected a map, got nothing" },
  {
    text: "server: {}\n",
    error:
      "server.private_key: expected the server's X25519 private key (32 bytes in base64), got nothing",
  },
  {
    server: ["udp_prot: 1"],
    error: "server.udp_prot: unknown key",
    hint: `did you mean "udp_port"?`,
  },
  {
    server: ["knock_timeout: 999ms"],
    error:
      `server.knock_timeout: expected a duration from 1s to 24h0m0s, such as "30s", got "999ms"`,
  },
  {
    server: [`public_key: ${OTHER_PUBLIC}`],
    error: "server.public_key: expected the public key of server.private_key, got another one",
    hint: "one of the two lines is from another server: restore the file, or run openme init again",
  },
  { server: ["drop_ports: no"], error: `server.drop_ports: expected true or false, got "no"` },
  {
    rest: `clients: {al: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [22/tcp, ssh/tpc]}}`,
    error:
      `clients.al.allowed_ports[1]: expected a port such as "22/tcp" or a group name, got "ssh/tpc"`,
  },
  {
    server: ["host: b"],
    error: "server.host: expected once, got again in line 4, column 3",
    hint: "take one of the two out",
  },
];

Deno.test("openme serve names the file, the key, what it expected there and what it found", async () => {
  await using site = await Site.create();
  const results = await mapSome([...WRONG_CONFIGS.entries()], async ([i, row]) => {
    await site.folder.write(`${i}.yaml`, row.text ?? serverYaml(row));
    return await site.run(["--config", `${i}.yaml`, "--state-dir", site.folder.file("state")]);
  });
  const expected = WRONG_CONFIGS.map(({ error, hint }, i) =>
    failure(1, `cannot load "${i}.yaml": ${error}`, hint)
  );
  assert.deepEqual(results, expected);
  // Nothing half-read is ever used.
  assert.equal(await site.asked(), "");
  assert.ok(!(await site.folder.names()).includes("state"));
});
