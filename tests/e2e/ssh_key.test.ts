/** A knock with the user's own ssh key: OpenSSH's agent signs it, and a real port opens. */

import assert from "node:assert/strict";
import { sealFresh } from "../../lib/client/knock.ts";
import { agentSigner } from "../../lib/client/ssh_agent.ts";
import { parseClientConfig, pickProfile } from "../../lib/config/profiles.ts";
import { blocksUnder } from "../documents/blocks.ts";
import { linesOf, Session } from "../documents/session.ts";
import { Folder } from "../support/folder.ts";
import { makeSshKey, SshAgent } from "../support/ssh_keys.ts";
import { lacks } from "../support/programs.ts";
import { waitFor } from "../support/wait.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { add, init, serve } from "./openme.ts";
import { OPENME } from "../support/openme_command.ts";
import { startParties } from "./parties.ts";
import { sshMissing } from "./sshd.ts";
import { LINE_MS } from "../support/spawned.ts";

const MISSING = lacks("ssh-agent", "ssh-add", "ssh-keygen") ?? await sshMissing();

e2e("the ssh-agent's signature", withAgent, { needs: MISSING });

async function withAgent(lab: Lab, t: Deno.TestContext): Promise<void> {
  const { client, other, isOpen, isClosed, isOpenToOther } = await startParties(lab);
  await using folder = await Folder.create();
  await using agent = await SshAgent.start(folder.file("agent"), "/bin/true");
  await makeSshKey(folder.file("key"));
  await agent.add("-q", "-c", folder.file("key"));
  const config = await init(lab, folder.path, ["--server", IPV4.server, "--port", `${KNOCK_PORT}`]);
  const profile = await add(lab, config, "alice", [
    "--ports",
    "22/tcp",
    "--ssh-key",
    folder.file("key.pub"),
  ]);
  assert.doesNotMatch(profile, /private/);
  await folder.write("alice.yaml", profile);
  const state = ["--state-dir", folder.file("state")];
  await using served = await serve(lab, config, [...state, "--log-level", "debug"]);
  const knock = (...args: string[]) =>
    lab.output("client", [
      ...["env", `SSH_AUTH_SOCK=${agent.socket}`, ...OPENME, "knock", ...args],
      ...["--client-config", folder.file("alice.yaml")],
    ]);

  await t.step("opens the port for the client alone", async () => {
    assert.ok(await isClosed());
    const { code, stderr } = await knock();
    assert.deepEqual([code, stderr], [0, ""]);
    await served.waitForLine(/event=granted client=alice address=10\.0\.0\.2 /);
    await waitFor("the port to open", isOpen);
    assert.ok(!await isOpenToOther());
  });

  await t.step("opens it once: a replay does nothing", async () => {
    const profiles = await parseClientConfig(profile, "alice.yaml");
    const { serverPublicKey, clientPublicKey } = pickProfile(profiles, undefined);
    const wanted = { publicKey: clientPublicKey, fingerprint: undefined };
    const signer = await agentSigner(agent.socket, wanted);
    const { datagram } = await sealFresh({ serverPublicKey, signer }, undefined);
    const before = served.lines.length;
    await client.send(datagram, IPV4.server, KNOCK_PORT);
    await served.waitForLine(/event=(granted|extended|renewed)/, LINE_MS, before);
    const seen = served.lines.length;
    for (const from of [client, other]) await from.send(datagram, IPV4.server, KNOCK_PORT);
    await served.waitForLine(/reason=replay/, LINE_MS, seen);
    assert.ok(!await isOpenToOther());
  });

  await t.step("--check says that it was this knock that the server took", async () => {
    const { code, stdout, stderr } = await knock("--check");
    assert.deepEqual([code, stderr], [0, ""], stdout);
  });

  await t.step("without the key in the agent nothing is sent", async () => {
    await agent.add("-q", "-D");
    const { code, stderr } = await knock();
    assert.equal(code, 1);
    assert.match(stderr, /^openme: error: the ssh-agent has no key SHA256:/);
  });
}

const BLOCKS = await blocksUnder({
  document: "docs/client.md",
  heading: "Your ssh key",
  test: "tests/e2e/ssh_key.test.ts",
});

for (const { line, text } of BLOCKS) {
  e2e(`docs/client.md:${line} (Your ssh key)`, async (lab) => {
    await using folder = await Folder.create();
    await using agent = await SshAgent.start(folder.file("agent"));
    await using session = await Session.create(lab);
    await makeSshKey(folder.file("key"), { comment: "alice@laptop" });
    await session.write(".ssh/id_ed25519", await folder.read("key"));
    await session.type({ side: "client", command: "chmod 600 .ssh/id_ed25519" });
    const authorized = await folder.read("key.pub");
    await session.type({
      side: "server",
      command: `mkdir -p .ssh; echo '${authorized.trim()}' > .ssh/authorized_keys`,
    });
    await session.type({ side: "server", command: "sudo openme init --server vps.example.org" });
    await session.type({ side: "server", command: "sudo openme serve" });
    const lines = linesOf(text);
    assert.ok(lines.length > 3);
    for (const { side, command } of lines) {
      const withSocket = side === "client"
        ? `export SSH_AUTH_SOCK='${agent.socket}'; ${command}`
        : command;
      await session.type({ side, command: withSocket });
    }
    await waitFor("the port to open", () => session.reaches());
    await session.interrupt();
  }, { needs: MISSING });
}
