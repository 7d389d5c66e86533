/** Keys while the server runs: added, rotated, renamed, taken back; each in force at once, without a restart. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { add, knock, openme } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

/** Runs a command on the server's configuration; gives what it printed. */
async function edit(lab: Lab, site: Site, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await openme(lab, "server", [...args, "--config", site.config]);
  assert.equal(code, 0, stderr);
  return stdout;
}

e2e("keys while the server runs", async (lab, t) => {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "30s",
  });
  await using served = await site.serve();
  const reaches = () => client.reaches(IPV4.server, 22);

  await t.step(
    "a client that is added knocks without a restart; revoke closes within a second",
    async () => {
      const profile = `${site.dir}/bob.yaml`;
      let from = served.lines.length;
      await Deno.writeTextFile(profile, await add(lab, site.config, "bob", ["--ports", "22/tcp"]), {
        mode: 0o600,
      });
      await served.waitForLine(/event=reloaded .*clients=2/, LINE_MS, from);
      assert.equal(await reaches(), false);
      const { code, stderr } = await knock(lab, "client", profile);
      assert.equal(code, 0, stderr);
      await waitFor("the port to open", reaches);

      from = served.lines.length;
      await edit(lab, site, ["revoke", "bob"]);
      const revokedMs = performance.now();
      await served.waitForLine(/event=withdrawn client=bob /, LINE_MS, from);
      assert.ok(performance.now() - revokedMs < 1000);
      assert.equal(await reaches(), false);
      assert.equal((await knock(lab, "client", profile)).code, 0);
      assert.equal(await reaches(), false, "a knock with a revoked key opens nothing");
    },
  );

  await t.step("a stranger stays out of a port whose only client is revoked", async () => {
    const other = await lab.agent("other");
    await server.listen({ tcp: [8080] });
    const strangerIsOut = async () => assert.equal(await other.reaches(IPV4.server, 8080), false);
    for (const older of [false, true]) {
      let from = served.lines.length;
      await add(lab, site.config, "web", ["--ports", "8080/tcp"]);
      await served.waitForLine(/event=reloaded guarded=.*8080\/tcp/, LINE_MS, from);
      if (older) {
        // As an openme wrote it that knew nothing of this.
        from = served.lines.length;
        const text = await Deno.readTextFile(site.config);
        await Deno.writeTextFile(site.config, text.replace(/^ports:\n {2}guarded: .*\n/m, ""));
        await served.waitForLine(/event=reloaded guarded=.*8080\/tcp/, LINE_MS, from);
      }
      await waitFor("the guard", async () => !await other.reaches(IPV4.server, 8080));
      from = served.lines.length;
      await edit(lab, site, ["revoke", "web"]);
      await served.waitForLine(/event=reloaded guarded=.*8080\/tcp.* clients=1/, LINE_MS, from);
      assert.doesNotMatch(served.lines.slice(from).join("\n"), /no_longer_guarded/);
      await strangerIsOut();
    }
    const from = served.lines.length;
    const text = await Deno.readTextFile(site.config);
    await Deno.writeTextFile(site.config, text.replace(/^ports:\n {2}guarded: .*\n/m, ""));
    await served.waitForLine(
      /level=warn event=ports_no_longer_guarded ports=8080\/tcp hint="to keep them closed, /,
      LINE_MS,
      from,
    );
    await served.waitForLine(/event=reloaded /, LINE_MS, from); // comes after the warning
  });

  await t.step(
    "a rotated client gets in with both keys, and after the grace with the new one",
    async () => {
      const profile = `${site.dir}/alice-new.yaml`;
      let from = served.lines.length;
      await edit(lab, site, ["rotate", "alice", "--grace", "1h", "--out", profile]);
      await served.waitForLine(/event=reloaded /, LINE_MS, from);
      await site.knock("alice");
      await served.waitForLine(/event=granted client=alice /, LINE_MS, from);
      assert.equal((await knock(lab, "client", profile)).code, 0);
      await served.waitForLine(/event=renewed client=alice /, LINE_MS, from);

      from = served.lines.length;
      await edit(lab, site, ["rename", "alice", "alicia"]);
      await served.waitForLine(/event=renamed client=alice now=alicia /, LINE_MS, from);
      await served.waitForLine(/event=reloaded /, LINE_MS, from); // the next wait must not take it for its own
      assert.equal(await reaches(), true, "what is open stays open");

      // Ending the old key takes nothing from the new one, which has renewed the grant.
      from = served.lines.length;
      const text = await Deno.readTextFile(site.config);
      await Deno.writeTextFile(
        site.config,
        text.replace(/previous_until: .*/, "previous_until: 2020-01-01"),
      );
      await served.waitForLine(/event=reloaded /, LINE_MS, from);
      assert.equal(await reaches(), true);
      await site.knock("alice");
      await waitFor("the old key's refusal", async () => {
        const { history } = JSON.parse(await edit(lab, site, ["history", "--json"]));
        return history.some((entry: { reason?: string }) => entry.reason === "expired");
      });
    },
  );

  await t.step(
    "knocks to the server's old key are taken until the rotation is finished",
    async () => {
      const profile = `${site.dir}/alice-new.yaml`;
      let from = served.lines.length;
      const publicKey = (await edit(lab, site, ["rotate", "--server"])).trim();
      await served.waitForLine(/event=reloaded /, LINE_MS, from);
      assert.equal((await knock(lab, "client", profile)).code, 0);
      await served.waitForLine(/event=renewed client=alicia /, LINE_MS, from);
      const text = await Deno.readTextFile(profile);
      const renewed = `${site.dir}/alice-newest.yaml`;
      await Deno.writeTextFile(
        renewed,
        text.replace(/server_pubkey: .*/, `server_pubkey: "${publicKey}"`),
        {
          mode: 0o600,
        },
      );
      from = served.lines.length;
      assert.equal((await knock(lab, "client", renewed)).code, 0);
      await served.waitForLine(/event=renewed client=alicia /, LINE_MS, from);

      from = served.lines.length;
      await edit(lab, site, ["rotate", "--server", "--finish"]);
      await served.waitForLine(/event=reloaded /, LINE_MS, from);
      assert.equal((await knock(lab, "client", profile)).code, 0);
      assert.equal((await knock(lab, "client", renewed)).code, 0);
      // Knocks are judged in their order: were the first one taken, it would be the one that renews here.
      await served.waitForLine(/event=renewed client=alicia /, LINE_MS, from);
      const renewals = served.lines.slice(from).filter((line) => line.includes("event=renewed"));
      assert.equal(renewals.length, 1);
    },
  );
});
