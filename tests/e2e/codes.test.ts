/** Codes of an authenticator app, made by another program: oathtool. The edges are in tests/config/codes.test.ts. */

import assert from "node:assert/strict";
import { lacks } from "../support/programs.ts";
import { pause, waitFor } from "../support/wait.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { LINE_MS } from "../support/spawned.ts";

const SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
/** How long a code is the one of now, and how long its use may take here. */
const STEP_MS = 30_000;
const USING_MS = 6000;
const CLIENTS = { alice: ["22/tcp"], bob: ["22/tcp"] };

/** What oathtool shows for a secret, so many seconds from now. */
async function oathtool(secret: string, seconds = 0): Promise<string> {
  const now = new Date(Date.now() + seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
  const { stdout } = await new Deno.Command("oathtool", {
    args: ["--totp", "--base32", `--now=${now} UTC`, secret],
  }).output();
  return new TextDecoder().decode(stdout).trim();
}

e2e("a second factor", async (lab, t) => {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22] });
  await using site = await Site.create(lab, {
    clients: CLIENTS,
    knockTimeout: "3s",
    clientLines: { alice: [`totp: "${SECRET}"`] },
  });
  let served = await site.serve();
  // The one of before, the one of now and the next, each asked for when it is used: then all are new, and none is old.
  let [first, second] = ["", ""];
  const wait = (timeout: string, code: string) => [
    ...["--wait", "22/tcp", "--timeout", timeout, "--code", code],
  ];
  const [opening, staying] = ["10s", "1s"];

  /** Waits until the history has so many refusals of alice for this reason. */
  const refused = async (reason: string, count = 1) => {
    const command = ["history", "--json", "--config", site.config];
    await waitFor(`refused (${reason})`, async () => {
      const { stdout } = await openme(lab, "server", command);
      const { history } = JSON.parse(stdout) as { history: Record<string, unknown>[] };
      return history.filter((each) => each["reason"] === reason).length === count;
    });
  };

  await t.step(
    "one program's knock without a code is refused where the entry asks for one",
    async () => {
      await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
      await client.send(await site.seal("alice", { stamped: true }), IPV4.server, KNOCK_PORT);
      await refused("code_missing");
      await client.send(await site.seal("bob"), IPV4.server, KNOCK_PORT);
      await opens(client, IPV4.server, 22);
      await served.waitForLine(/event=expired client=bob/);
    },
  );

  await t.step("a code lets in, once, for the time of one knock", async () => {
    const from = served.lines.length;
    // The one of before is good until the step of now ends.
    const leftMs = STEP_MS - Date.now() % STEP_MS;
    if (leftMs < USING_MS) await pause(leftMs);
    first = await oathtool(SECRET, -30);
    await site.knock("alice", wait(opening!, first));
    const elsewhere = await site.tryKnock("alice", wait(staying!, first), "other");
    assert.equal(elsewhere.code, 3, elsewhere.stderr);
    await refused("code_used");
    await served.waitForLine(/event=expired client=alice/, 10_000, from);
    assert.equal((await site.tryKnock("alice", wait(staying!, first))).code, 3);
  });

  await t.step("a wrong code is one guess, however often it is sent", async () => {
    second = await oathtool(SECRET);
    const wrong = String((Number(second) + 1) % 1e6).padStart(6, "0");
    assert.equal((await site.tryKnock("alice", wait(staying!, wrong))).code, 3);
    await refused("code_wrong");
    await site.knock("alice", wait(opening!, second));
  });

  await t.step("neither a code nor its knock is good again after a SIGKILL", async () => {
    await served.kill("SIGKILL");
    await lab.nft("flush ruleset");
    served = await site.serve();
    assert.equal((await site.tryKnock("alice", wait(staying!, second), "other")).code, 3);
    assert.equal(await other.connect(IPV4.server, 22), "timeout");
    await site.knock("alice", wait(opening!, await oathtool(SECRET, 30)), "other");
    await opens(other, IPV4.server, 22);
  });

  await t.step(
    "a server that asks for none takes a knock with code, client hint and stamp",
    async () => {
      await site.knock("bob", wait(opening!, first));
      await opens(client, IPV4.server, 22);
    },
  );

  await t.step(
    "add --totp shows a secret that oathtool takes, and the running server asks for its codes",
    async () => {
      const from = served.lines.length;
      const profile = `${site.dir}/carol.yaml`;
      const args = ["add", "carol", "--totp", "--ports", "22/tcp", "--out", profile];
      const added = await openme(lab, "server", [...args, "--config", site.config]);
      assert.equal(added.code, 0, added.stderr);
      const [, shown] = /or typed into it: ([A-Z2-7 ]+)$/m.exec(added.stderr)!;
      await served.waitForLine(/event=reloaded/, LINE_MS, from);
      const without = await site.tryKnock("carol", []);
      assert.equal(without.code, 2, without.stderr);
      await site.knock("carol", wait(opening!, await oathtool(shown!.replaceAll(" ", ""))));
      await served.waitForLine(/event=granted client=carol/, LINE_MS, from);
      for (const secret of [SECRET, shown!.replaceAll(" ", "")]) {
        assert.ok(!served.lines.join("\n").includes(secret));
      }
    },
  );
}, { needs: lacks("oathtool") });
