/** A server that is known by its link-local address alone: knocked at, dialled and asked through its zone. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";

e2e("a server by its link-local address", async (lab) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "20s",
  });
  await using served = await site.serve();
  const server = await lab.agent("server");
  await server.listen({ tcp: [22] });
  const settled = async (side: "server" | "client") => {
    const text = await lab.run(side, [
      "ip",
      "-6",
      "address",
      "show",
      "dev",
      "eth0",
      "scope",
      "link",
    ]);
    return /tentative/.test(text) ? undefined : /inet6 (fe80:\S+)\/64/.exec(text)?.[1];
  };
  await waitFor(
    "link-local addresses",
    async () => await settled("server") !== undefined && await settled("client") !== undefined,
  );
  const address = await settled("server");
  const as = (...args: string[]) =>
    openme(lab, "client", [...args, "--client-config", `${site.dir}/alice.yaml`]);

  await site.clientConfig("alice", `${address}%eth0`);
  const waited = await as("knock", "--wait", "22/tcp", "--check", "--json");
  assert.equal(waited.code, 0, waited.stderr);
  const { sent, opened, checked } = JSON.parse(waited.stdout);
  assert.deepEqual(sent, [{ address: `${address}%eth0`, failure: null }]);
  assert.equal(opened.address, `${address}%eth0`);
  assert.equal(checked.address, await settled("client"));
  const connected = await as("connect", `[${address}%eth0]`, "22");
  assert.equal(connected.code, 0, connected.stderr);
  await served.waitForLine(/event=renewed client=alice address=fe80/);

  // Only the zone says through which cable: on eth1 there is nobody of that address.
  await site.clientConfig("alice", `${address}%eth1`);
  const { code } = await as("knock", "--wait", "22/tcp", "--timeout", "1s");
  assert.notEqual(code, 0);
});
