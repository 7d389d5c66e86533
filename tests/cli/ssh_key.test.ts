/** `add --ssh-key` and profiles with an `identity`: what people do with keys that ssh has already. */

import assert from "node:assert/strict";
import { decodeBase64 } from "../../lib/crypto/keys.ts";
import { readSshPublicKeys, type SshPublicKey } from "../../lib/config/ssh_public_keys.ts";
import { Folder } from "../support/folder.ts";
import { must } from "../support/knocks.ts";
import { testWith } from "../support/programs.ts";
import { makeSshKey, SshAgent } from "../support/ssh_keys.ts";
import { bareEnvironment, failure, freeUdpPort, openme, type Result } from "./program.ts";
import { init } from "./server_file.ts";
import { answering } from "./terminal.ts";

const TOOLS = ["ssh-agent", "ssh-add", "ssh-keygen"] as const;

/** A server's configuration for this machine, a user's home, and one ssh key in it. */
class Desk implements AsyncDisposable {
  readonly folder: Folder;
  readonly config: string;
  readonly key: SshPublicKey;

  private constructor(folder: Folder, config: string, key: SshPublicKey) {
    this.folder = folder;
    this.config = config;
    this.key = key;
  }

  static async create(passphrase = ""): Promise<Desk> {
    const folder = await Folder.create();
    const port = `${freeUdpPort()}`;
    const config = await init(folder.path, [
      "--server",
      "127.0.0.1",
      "--port",
      port,
      "--firewall",
      "none",
    ]);
    await makeSshKey(folder.file("key"), { passphrase, comment: "me@laptop" });
    const { keys } = await readSshPublicKeys(await folder.read("key.pub"));
    return new Desk(folder, config, must(keys[0]));
  }

  async run(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
    return await openme(args, { cwd: this.folder.path, env: await this.env(env) });
  }

  async env(more: Record<string, string> = {}): Promise<Record<string, string>> {
    return await bareEnvironment({ HOME: this.folder.path, ...more });
  }

  /** Adds a client; returns its profile. */
  async add(name: string, ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run([
      ...["add", name, "--config", this.config, "--ports", "22/tcp", ...args],
    ]);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** Imports alice's profile with another identity. */
  async profileWith(identity: string): Promise<void> {
    const text = await this.folder.read("alice.yaml");
    await this.folder.write(
      "changed.yaml",
      text.replace("identity: agent", `identity: "${identity}"`),
    );
    const { code, stderr } = await this.run(["import", "--force", "changed.yaml"]);
    assert.equal(code, 0, stderr);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.folder[Symbol.asyncDispose]();
  }
}

testWith(
  TOOLS,
  "add --ssh-key registers the key, and makes a profile without a secret in each form",
  async () => {
    await using desk = await Desk.create();
    const yaml = await desk.add("alice", "--ssh-key", "key.pub");
    assert.match(yaml, /\n {4}identity: agent\n {4}public_key: "\S{44}"\n$/);
    assert.doesNotMatch(yaml, /private/);
    const listed = await desk.run(["list", "--json", "--config", desk.config]);
    const [client] = JSON.parse(listed.stdout).clients;
    assert.deepEqual(decodeBase64(client.public_key), desk.key.publicKey);
    const again = await desk.run([
      ...["add", "alice", "--config", desk.config, "--ports", "22/tcp", "--ssh-key", "key.pub"],
    ]);
    assert.deepEqual([again.code, again.stdout], [0, yaml]);
    assert.match(again.stderr, /has this key and these ports already/);
    await desk.folder.write("alice.yaml", yaml);
    const link = await desk.add("alice", "--ssh-key", "key.pub", "--link");
    await desk.folder.write("alice.link", link);
    const query = new URLSearchParams(link.trim().split("?")[1]);
    await desk.folder.write(
      "alice.json",
      JSON.stringify(Object.fromEntries([...query].map(([key, value]) => {
        return [key, key === "udp_port" ? Number(value) : value];
      }))),
    );
    await desk.add("alice", "--ssh-key", "key.pub", "--qr-out", "alice.svg");
    for (const form of ["yaml", "link", "json"]) {
      const imported = await desk.run(["import", `alice.${form}`, "--as", form]);
      assert.deepEqual(imported, { code: 0, stdout: "", stderr: "" });
      const shown = await desk.run(["keygen", "--show", form]);
      assert.deepEqual(decodeBase64(shown.stdout.trim()), desk.key.publicKey);
    }
    const { stdout } = await desk.run(["profiles"]);
    assert.deepEqual(stdout.match(/^(yaml|link|json)\b/gm), ["yaml", "link", "json"]);
  },
);

testWith(
  TOOLS,
  "add --ssh-key asks which of several keys, and takes it by comment or fingerprint",
  async () => {
    await using desk = await Desk.create();
    const { folder, key } = desk;
    await makeSshKey(folder.file("other"), { comment: "" });
    await makeSshKey(folder.file("rsa"), { comment: "old", more: ["-t", "rsa"] });
    const lines = [`from="10.0.0.0/8" ${await folder.read("key.pub")}`];
    lines.push(await folder.read("other.pub"), await folder.read("rsa.pub"));
    await folder.write("authorized_keys", lines.join(""));
    const { keys: [other] } = await readSshPublicKeys(await folder.read("other.pub"));
    const add = (flag: string) =>
      desk.run(["add", "bob", "--config", desk.config, "--ports", "22/tcp", "--ssh-key", flag]);
    const there = `${key.fingerprint} "me@laptop", ${other!.fingerprint} (no comment)`;
    const choose = "choose one by its comment or its fingerprint: --ssh-key 'FILE#alice@laptop'";
    const file = `--ssh-key: "authorized_keys"`;
    assert.deepEqual(
      await add("authorized_keys"),
      failure(2, `${file}: expected one Ed25519 key, got 2: ${there}`, choose),
    );
    assert.deepEqual(
      await add("authorized_keys#you"),
      failure(2, `${file}: no single key is called "you": there is ${there}`, choose),
    );
    assert.match(
      (await add("authorized_keys#old")).stderr,
      /^openme: error: .*expected an Ed25519 key, got ssh-rsa\nopenme: hint: .*ssh-keygen -t ed25519\n$/,
    );
    assert.match(
      (await add("rsa.pub")).stderr,
      /^openme: error: .*expected an Ed25519 key, got ssh-rsa\n/,
    );
    const secret = await add("key");
    assert.equal(secret.code, 1);
    assert.match(secret.stderr, /expected a public key, got a private one\n/);
    assert.match(
      (await add("none.pub")).stderr,
      /there is no such file\nopenme: hint: name the file that ssh-keygen wrote/,
    );
    const both = await desk.run([
      "add",
      "bob",
      "--config",
      desk.config,
      "--ssh-key",
      "key.pub",
      "--pubkey",
      "x",
    ]);
    assert.deepEqual(both, failure(2, "--ssh-key and --pubkey exclude each other"));
    const taken = await add("authorized_keys#me@laptop");
    assert.equal(taken.code, 0);
    assert.match(
      taken.stderr,
      /^openme: the key is SHA256:\S{43} me@laptop\nopenme: its options in the file are sshd's/,
    );
    assert.equal(
      (await desk.run([
        "rotate",
        "bob",
        "--config",
        desk.config,
        "--ssh-key",
        `authorized_keys#${other!.fingerprint}`,
      ])).code,
      0,
    );
    const again = await desk.run([
      "rotate",
      "bob",
      "--config",
      desk.config,
      "--ssh-key",
      "other.pub",
    ]);
    assert.match(again.stderr, /the new key is in use already/);
    const own = await desk.run(["rotate", "bob", "--config", desk.config]);
    assert.match(
      own.stdout,
      /private_key/,
      "without a flag the client goes over to a key of openme's",
    );
  },
);

testWith(
  TOOLS,
  "a profile that is replaced keeps where its user has the key, as long as it is the same key",
  async () => {
    await using desk = await Desk.create();
    await desk.folder.write("alice.yaml", await desk.add("alice", "--ssh-key", "key.pub"));
    await desk.profileWith("~/key");
    const imported = async (file: string) => {
      const { code, stderr } = await desk.run(["import", "--force", file]);
      assert.equal(code, 0, stderr);
      return /identity: (.*)/.exec(await desk.folder.read(".openme/config.yaml"))?.[1];
    };
    assert.equal(await imported("alice.yaml"), '"~/key"');
    await makeSshKey(desk.folder.file("other"));
    await desk.folder.write("other.yaml", await desk.add("bob", "--ssh-key", "other.pub"));
    assert.equal(await imported("other.yaml"), '"agent"');
  },
);

testWith(TOOLS, "knock signs through the agent, and says what is wrong with one", async () => {
  await using desk = await Desk.create();
  await desk.folder.write("alice.yaml", await desk.add("alice", "--ssh-key", "key.pub"));
  await desk.profileWith("agent");
  assert.deepEqual(
    await desk.run(["knock"]),
    failure(
      1,
      "cannot reach the ssh-agent: SSH_AUTH_SOCK is not set",
      `start one: eval "$(ssh-agent)" && ssh-add; sudo and cron do not hand the variable on`,
    ),
  );
  await using agent = await SshAgent.start(desk.folder.file("agent"));
  const empty = await desk.run(["knock"], agent.env);
  assert.equal(empty.code, 1);
  assert.match(
    empty.stderr,
    /^openme: error: the ssh-agent has no key SHA256:\S{43}: it has no Ed25519 key at all\n/,
  );
  await agent.add("-q", desk.folder.file("key"));
  const good: Result = { code: 0, stdout: "", stderr: "" };
  assert.deepEqual(await desk.run(["knock"], agent.env), good);
  await desk.profileWith(desk.key.fingerprint);
  assert.deepEqual(await desk.run(["knock"], agent.env), good);
  const { stdout } = await desk.run(["doctor"], agent.env);
  assert.match(
    stdout,
    new RegExp(
      `^ok +identity +${desk.key.fingerprint.replaceAll(/[+/]/g, "\\$&")}, in the ssh-agent$`,
      "m",
    ),
  );
  await agent.add("-q", "-D");
  await agent.add("-q", "-c", desk.folder.file("key"));
  const refused = await desk.run(["knock"], agent.env);
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /^openme: error: the ssh-agent refused to sign with SHA256:\S{43}\nopenme: hint: was its question declined/,
  );
});

testWith(
  [...TOOLS, "script"],
  "knock signs with a private key's file, and asks for its passphrase without showing it",
  async () => {
    const passphrase = "five random words";
    await using desk = await Desk.create(passphrase);
    await desk.folder.write("alice.yaml", await desk.add("alice", "--ssh-key", "key.pub"));
    await desk.profileWith("~/key");
    assert.deepEqual(
      await desk.run(["knock"]),
      failure(
        2,
        "cannot ask for the passphrase: standard input is no terminal",
        "add the key to the ssh-agent, ssh-add FILE, and say identity: agent in the profile",
      ),
    );
    const asked = async (answer: string) => {
      const env = await desk.env();
      const { code, shown } = await answering(["knock"], {
        cwd: desk.folder.path,
        env,
        answers: [`${answer}\r`],
      });
      assert.ok(!shown.includes(answer), shown);
      return { code, shown };
    };
    const good = await asked(passphrase);
    assert.equal(good.code, 0, good.shown);
    const wrong = await asked("another one");
    assert.equal(wrong.code, 1);
    assert.match(wrong.shown, /error: cannot open "\S+\/key": the passphrase is wrong\n/);
    await makeSshKey(desk.folder.file("plain"));
    await desk.profileWith(desk.folder.file("plain"));
    const other = await desk.run(["knock"]);
    assert.match(
      other.stderr,
      /^openme: error: the profile "default" is for the key SHA256:\S{43}, and its identity is SHA256:\S{43}\n/,
    );
    await Deno.chmod(desk.folder.file("plain"), 0o644);
    const open = await desk.run(["knock"]);
    assert.match(
      open.stderr,
      /it holds private keys, expected a mode such as 0600 or 0640, got 0644\n/,
    );
    await desk.profileWith(desk.folder.file("key.pub"));
    await Deno.chmod(desk.folder.file("key.pub"), 0o600);
    assert.match(
      (await desk.run(["knock"])).stderr,
      /expected an OpenSSH private key, got a public one\n/,
    );
  },
);
