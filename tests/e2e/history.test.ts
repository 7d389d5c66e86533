/** What a running server writes down of knocks that it takes and refuses: who, from where, to which ports, and why not. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { pause, waitFor } from "../support/wait.ts";

const MINUTE_NS = 60_000_000_000n;

e2e("history of a running server", async (lab, t) => {
  const client = await lab.agent("client");
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: ["22/tcp"], carol: ["22/tcp"] },
    clientLines: { carol: ['expires: "2020-01-01"'] },
  });
  const nowNs = () => BigInt(Date.now()) * 1_000_000n;
  const send = (datagram: Uint8Array) => client.send(datagram, IPV4.server, KNOCK_PORT);
  const history = async (): Promise<Record<string, unknown>[]> => {
    const { code, stdout, stderr } = await openme(lab, "server", [
      "history",
      "--json",
      "--config",
      site.config,
    ]);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout).history;
  };

  let accepted: Uint8Array;
  let acceptedMs = 0;
  await t.step(
    "grants and refusals are told, a wrong clock at info, one a client and minute",
    async () => {
      await using served = await site.serve();
      accepted = await site.seal("alice");
      acceptedMs = Date.now();
      await send(accepted);
      await send(accepted); // a replay
      for (let i = 0; i < 3; i++) {
        await send(await site.seal("alice", { timestampNs: nowNs() - 5n * MINUTE_NS }));
        await send(await site.seal("bob", { timestampNs: nowNs() + 90n * MINUTE_NS }));
        await send(await site.seal("carol"));
        await send(await site.seal("bob", { target: "127.0.0.1" }));
        await send(await site.sealAsStranger());
      }
      await send(await site.seal("bob"));
      await served.waitForLine(/event=granted client=bob/);
      const lines = served.lines.filter((line) => line.includes("event=clock_off"));
      assert.equal(lines.length, 2, lines.join("\n"));
      assert.match(
        lines[0]!,
        /level=info event=clock_off client=alice source=10\.0\.0\.2 offset="5m[01]s behind" hint=/,
      );
      assert.match(lines[1]!, / client=bob source=10\.0\.0\.2 offset="1h(30m0|29m59)s ahead" /);
      const entries = await waitFor("the history", async () => {
        const found = await history();
        return found.length >= 6 ? found : undefined;
      });
      const told = entries.map(({ client, event, reason }) => `${client} ${reason ?? event}`);
      assert.deepEqual(told.sort(), [
        "alice granted",
        "alice stale",
        "bob granted",
        "bob stale",
        "bob target",
        "carol expired",
      ]);
      await served.stop();
    },
  );

  await t.step(
    "an old capture is no wrong clock",
    async () => {
      await site.configure({ server: ["replay_window: 1s"] });
      await using served = await site.serve();
      // Its time is over, its nonce is still known.
      await pause(acceptedMs + 1500 - Date.now());
      await send(accepted);
      await send(await site.seal("bob", { timestampNs: nowNs() - 5n * MINUTE_NS }));
      const line = await served.waitForLine(/event=clock_off/);
      assert.match(line, / client=bob /);
      const last = await waitFor("the history", async () => {
        const found = (await history()).at(-1);
        return found?.["reason"] === "stale" ? found : undefined;
      });
      assert.equal(last["client"], "bob");
      await served.stop();
    },
  );
});

e2e("history of grants that end before their time", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: ["22/tcp"], carol: ["22/tcp"], dora: ["22/tcp", "80/tcp"] },
    knockTimeout: "60s",
  });
  const inServer = async (...args: string[]) => {
    const { code, stdout, stderr } = await openme(lab, "server", [
      ...args,
      "--config",
      site.config,
    ]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  await using served = await site.serve();
  for (const name of ["alice", "bob", "carol", "dora"]) {
    await site.knock(name);
    await served.waitForLine(new RegExp(`event=granted client=${name} `));
  }
  const told = (name: string, text: RegExp) =>
    waitFor(`${name}'s row`, async () => {
      const lines = (await inServer("history", "--client", name)).split("\n");
      return lines.some((line) => text.test(line));
    });

  await t.step("closed by command, configuration changed, key revoked", async () => {
    await inServer("close", "alice");
    await told("alice", /let in: 22\/tcp for [\d.]+m?s \(closed by command\)$/);
    await site.knock("alice");
    await told("alice", /let in: 22\/tcp for 1m0s$/);
    await told("alice", /let in: 22\/tcp for [\d.]+m?s \(closed by command\)$/);

    const clients = { alice: ["22/tcp"], bob: ["80/tcp"], carol: ["22/tcp"], dora: ["80/tcp"] };
    await site.configure({ clients });
    await told("bob", /let in: 22\/tcp for [\d.]+m?s \(configuration changed\)$/);
    const cut =
      /let in: 22\/tcp 80\/tcp for [\d.]+m?s \(configuration changed, 80\/tcp left open\)$/;
    await told("dora", cut);
    await inServer("revoke", "carol");
    await served.waitForLine(/event=withdrawn client=carol/);
    await told("carol", /let in: 22\/tcp for [\d.]+m?s \(key revoked\)$/);
    const { history } = JSON.parse(await inServer("history", "--json", "--client", "carol"));
    assert.equal(history[0].ended_why, "key revoked");
    assert.ok(Date.parse(history[0].ended_at) < Date.parse(history[0].expires_at) - 10_000);
  });

  await t.step("a shorter knock_timeout cuts what is left", async () => {
    await site.configure({ knockTimeout: "20s" });
    await served.waitForLine(/event=narrowed client=alice/);
    await told("alice", /let in: 22\/tcp for 2\ds \(configuration changed\)$/);
  });
});

e2e("history, sessions and status of grants that the firewall refuses", async (lab, t) => {
  const dir = await Deno.makeTempDir({ prefix: "openme-refuses-" });
  const script = `${dir}/open`;
  // Refuses whoever is named in a file.
  await Deno.writeTextFile(script, `#!/bin/sh\n! grep -q "$1" ${dir}/refused\n`, { mode: 0o755 });
  await Deno.writeTextFile(`${dir}/refused`, "alice\n");
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: ["22/tcp"] },
    firewall: "command",
    dropPorts: false,
    knockTimeout: "30s",
    server: ["command:", `  open: [${script}, "{client}"]`, `  close: [${script}, close]`],
  });
  const ask = async (...args: string[]) =>
    (await openme(lab, "server", [...args, "--config", site.config])).stdout;
  const history = async (): Promise<Record<string, unknown>[]> =>
    JSON.parse(await ask("history", "--json")).history;
  await using served = await site.serve();

  await t.step("one is refused, and the other let in", async () => {
    await site.knock("alice");
    await served.waitForLine(/event=firewall_failed .*reason=backend/);
    await site.knock("bob", ["--ip", "192.0.2.7"]);
    await served.waitForLine(/event=granted client=bob/);
    const entries = await waitFor("the story", async () => {
      const found = await history();
      return found.length === 3 ? found : undefined;
    });
    const [alice, refused, bob] = entries;
    assert.deepEqual([alice!["event"], alice!["client"], alice!["failed"]], [
      "granted",
      "alice",
      true,
    ]);
    assert.deepEqual([refused!["client"], refused!["reason"]], ["alice", "backend"]);
    assert.match(String(refused!["cause"]), /^the firewall refused to let it in: /);
    assert.deepEqual([bob!["client"], bob!["failed"]], ["bob", undefined]);
    const text = await ask("history");
    assert.match(text, / not let in: 22\/tcp: the firewall refused\n/);
    assert.match(text, / let in 192\.0\.2\.7: 22\/tcp for 30s\n/);
    const { grants: sessions } = await site.sessions() as { grants: Record<string, unknown>[] };
    assert.deepEqual(sessions.map(({ client, failed }) => [client, failed]), [
      ["alice", true],
      ["bob", undefined],
    ]);
    assert.match(await ask("sessions"), /^alice .* refused by the firewall\n.*[^l]$/m);
    const lines = served.lines.filter((line) => /event=granted/.test(line));
    assert.deepEqual(lines.map((line) => /client=(\w+)/.exec(line)![1]), ["bob"]);
  });

  await t.step("status and knock --check do not say that it is let in", async () => {
    // The health port is open to everyone here: nothing drops.
    const asked = await openme(lab, "client", [
      ...["status", "--client-config", `${site.dir}/alice.yaml`],
    ]);
    assert.equal(
      asked.stdout,
      `default: alice is not let in from ${IPV4.client}: the server's firewall refused it\n`,
    );
    const checked = await site.tryKnock("alice", ["--check"]);
    assert.equal(checked.code, 3);
    assert.match(checked.stderr, /error: the firewall of 10\.0\.0\.1 refused what was opened\n/);
    const told = (await history()).filter(({ reason }) => reason === "backend");
    assert.equal(told.length, 1, "one of a kind, client and minute");
  });

  await t.step("until the firewall takes it after all", async () => {
    await Deno.writeTextFile(`${dir}/refused`, "nobody\n");
    await served.waitForLine(/event=granted client=alice/, 10_000);
    await waitFor(
      "the story",
      async () => (await history()).every(({ failed }) => failed === undefined),
    );
    const { grants: sessions } = await site.sessions() as { grants: Record<string, unknown>[] };
    assert.deepEqual(sessions.map(({ failed }) => failed), [undefined, undefined]);
    const asked = await openme(lab, "client", [
      ...["status", "--json", "--client-config", `${site.dir}/alice.yaml`],
    ]);
    assert.equal(JSON.parse(asked.stdout).answers[0].grants[0].failed, undefined);
  });
  await Deno.remove(dir, { recursive: true });
});
