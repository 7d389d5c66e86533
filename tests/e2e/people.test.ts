/** `clients.d`: files that appear, are wrong, and go, under a server that runs. */

import assert from "node:assert/strict";
import { encodeBase64, keyPairOf } from "../../lib/crypto/keys.ts";
import { e2e } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { knock } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

e2e("a person's file is in force at once, and so is its removal", async (lab, t) => {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  await using site = await Site.create(lab, {
    clients: { alice: ["ssh"] },
    ports: { ssh: ["22/tcp"] },
    knockTimeout: "30s",
  });
  await using served = await site.serve();
  const folder = `${site.dir}/clients.d`;
  const reaches = () => client.reaches(IPV4.server, 22);
  const publicKey = async (profile: string) => {
    const [, key] = /^ {4}public_key: (\S+)$/m.exec(await Deno.readTextFile(profile)) ?? [];
    return key!;
  };
  // Bob's profile is alice's with a key of his own.
  const profile = `${site.dir}/bob.profile`;
  const keys = await keyPairOf("Ed25519", crypto.getRandomValues(new Uint8Array(32)));
  const text = await Deno.readTextFile(`${site.dir}/alice.yaml`);
  await Deno.writeTextFile(
    profile,
    text.replace(
      /private_key: .*\n {4}public_key: .*/,
      `private_key: ${encodeBase64(Uint8Array.of(...keys.privateKey, ...keys.publicKey))}
    public_key: ${encodeBase64(keys.publicKey)}`,
    ),
    { mode: 0o600 },
  );
  const entry = `clients:
  bob:
    ed25519_pubkey: ${await publicKey(profile)}
    allowed_ports: [ssh]
`;

  await t.step("a file that is dropped lets its client in", async () => {
    const from = served.lines.length;
    await Deno.mkdir(folder);
    await Deno.writeTextFile(`${folder}/bob.yaml`, entry);
    await served.waitForLine(/event=reloaded .*clients=2/, LINE_MS, from);
    const { code, stderr } = await knock(lab, "client", profile, ["--wait", "22/tcp"]);
    assert.equal(code, 0, stderr);
  });

  await t.step("one that is wrong changes nothing and is named", async () => {
    const from = served.lines.length;
    await Deno.writeTextFile(`${folder}/carol.yaml`, entry.replace("bob", "carol"));
    const line = await served.waitForLine(/event=config_rejected/, LINE_MS, from);
    assert.match(line, /clients\.d\/carol\.yaml/);
    assert.equal(await reaches(), true);
    await Deno.remove(`${folder}/carol.yaml`);
    await served.waitForLine(/event=reloaded .*clients=2/, LINE_MS, from);
  });

  await t.step("one that is deleted takes its grants along", async () => {
    const from = served.lines.length;
    await Deno.remove(`${folder}/bob.yaml`);
    await served.waitForLine(/event=withdrawn client=bob /, LINE_MS, from);
    await waitFor("the port to close", async () => !await reaches());
    assert.equal((await knock(lab, "client", profile)).code, 0);
    await site.knock("alice", ["--wait", "22/tcp"]);
    const { grants: sessions } = await site.sessions() as { grants: { client: string }[] };
    assert.deepEqual(sessions.map((each) => each.client), ["alice"]);
  });
});
