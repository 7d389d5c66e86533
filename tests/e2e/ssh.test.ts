/** Debian's own ssh and sshd: the login that all of this is for, and what changes while somebody is logged in. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { add } from "./openme.ts";
import { Site } from "./site.ts";
import { sshMissing, startSshd } from "./sshd.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

e2e("ssh through a guarded port", login, { needs: await sshMissing() });

async function login(lab: Lab, t: Deno.TestContext): Promise<void> {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    ports: { ssh: ["22/tcp"] },
  });
  const sshArgs = await startSshd((command) => lab.start("server", command), site.dir);
  await using served = await site.serve();
  const client = await lab.agent("client");
  const proxy = (name: string) =>
    `ProxyCommand=${
      [...OPENME, "connect", "--client-config", `${site.dir}/${name}.yaml`].join(" ")
    } default %h %p --timeout 5s`;
  const ssh = (name: string, ...command: string[]) => [
    "ssh",
    ...["-F", "none"],
    ...sshArgs,
    ...["-o", proxy(name), `root@${IPV4.server}`, ...command],
  ];
  assert.equal(await client.connect(IPV4.server, 22), "timeout");

  await t.step("ProxyCommand logs in, and the session stays alive past the grant", async () => {
    const session = lab.start("client", ssh("alice", "cat"));
    await session.writeLine("early");
    await session.stdout.waitFor(/^early$/, 10_000);
    await served.waitForLine(/event=expired client=alice/, 10_000);
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
    await session.writeLine("late");
    await session.stdout.waitFor(/^late$/);
    await session.closeStdin();
    assert.equal((await session.status).code, 0, String(session.stderr));
  });

  await t.step("the profile's name stands for its server", async () => {
    const command = ssh("alice", "echo", "logged", "in")
      .map((argument) => argument.replace(`root@${IPV4.server}`, "root@default"));
    const { code, stdout, stderr } = await lab.output("client", command);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: "logged in\n" }, stderr);
  });

  await t.step("one Host line and one file of profiles serve many hosts", async () => {
    const profile = (await Deno.readTextFile(`${site.dir}/alice.yaml`)).split("\n").slice(2);
    const named = (name: string, lines: readonly string[]) => [`  ${name}.corp:`, ...lines];
    const key = /^ {4}private_key: /;
    const fleet = [
      "profiles:",
      ...named("web1", profile.map((line) => line.replace(key, "$&&mine "))),
      ...named("db1", profile.map((line) => line.replace(/^( {4}private_key:) .*/, "$1 *mine"))),
    ];
    await Deno.writeTextFile(`${site.dir}/fleet.yaml`, fleet.join("\n"), { mode: 0o600 });
    const connect = [...OPENME, "connect", "--client-config", `${site.dir}/fleet.yaml`];
    await Deno.writeTextFile(
      `${site.dir}/ssh_config`,
      `Host *.corp\n  ProxyCommand ${connect.join(" ")} %n %h %p\n`,
    );
    for (const host of ["web1.corp", "db1.corp"]) {
      const command = ["-F", `${site.dir}/ssh_config`, ...sshArgs, `root@${host}`];
      const { code, stdout, stderr } = await lab.output("client", ["ssh", ...command, "echo in"]);
      assert.deepEqual({ code, stdout }, { code: 0, stdout: "in\n" }, stderr);
    }
  });

  await t.step("a client that is added while serving logs in, with no restart", async () => {
    const profile = await add(lab, site.config, "bob", ["--ports", "ssh"]);
    await Deno.writeTextFile(`${site.dir}/bob.yaml`, profile, { mode: 0o600 });
    const { code, stdout, stderr } = await lab.output("client", ssh("bob", "echo", "hello"));
    assert.deepEqual({ code, stdout }, { code: 0, stdout: "hello\n" }, stderr);
  });

  await t.step("a client that is removed is out within a second; its session goes on", async () => {
    await site.configure({ knockTimeout: "30s" });
    await served.waitForLine(/event=reloaded.* clients=1 /, LINE_MS, served.lines.length - 1);
    const session = lab.start("client", ssh("alice", "cat"));
    await session.writeLine("in");
    await session.stdout.waitFor(/^in$/, 10_000);
    assert.equal(await client.connect(IPV4.server, 22), "open");
    const removedAtMs = performance.now();
    await site.configure({ clients: {} });
    await waitFor("the port to close", async () => !await client.reaches(IPV4.server, 22, 200), {
      everyMs: 10,
    });
    const closedMs = performance.now() - removedAtMs;
    assert.ok(closedMs < 1200, `${closedMs} ms`); // the last look itself takes 200 ms to see a closed port
    await session.writeLine("still");
    await session.stdout.waitFor(/^still$/);
    const { code, stderr } = await lab.output("client", ssh("alice", "true"));
    assert.equal(code, 255, "a removed client does not get in again");
    assert.match(stderr, /^openme: error: port 22\/tcp of 10\.0\.0\.1 did not open within 5s /);
  });
}
