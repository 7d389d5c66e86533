/** What acts on, or follows from, a running server: `close`, the control socket, the health port, notifications. */

import assert from "node:assert/strict";
import { concatBytes, encodeBase64, keyPairOf } from "../../lib/crypto/keys.ts";
import { lacks } from "../support/programs.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6, type Lab } from "./lab.ts";
import { openme, type Served } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

async function listens(lab: Lab, port: number): Promise<boolean> {
  return (await lab.run("server", ["ss", "-Hltn", "sport", "=", `:${port}`])) !== "";
}

function close(lab: Lab, site: Site, ...args: string[]) {
  return openme(lab, "server", ["close", "--config", site.config, ...args]);
}

e2e("close ends grants at once", async (lab, t) => {
  const clients = { alice: ["22/tcp"], bob: ["80/tcp"] };
  await using site = await Site.create(lab, { clients, knockTimeout: "30s" });
  await using served = await site.serve();
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22, 80] });
  const knockBoth = async () => {
    for (const [name, port] of [["alice", 22], ["bob", 80]] as const) {
      await site.knock(name, ["--wait", `${port}/tcp`]);
    }
  };

  await t.step("of one client, of an address, of all", async () => {
    for (
      const [whom, alice, bob] of [["alice", true, false], [IPV4.client, true, true], [
        "--all",
        true,
        true,
      ]] as const
    ) {
      await knockBoth();
      const { code, stdout, stderr } = await close(lab, site, whom);
      const lines = [
        ...(alice ? [`closed 22/tcp for alice at ${IPV4.client}\n`] : []),
        ...(bob ? [`closed 80/tcp for bob at ${IPV4.client}\n`] : []),
      ];
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: lines.join(""), stderr: "" });
      // The command returns when the firewall has it: nothing to wait for.
      assert.equal(await client.connect(IPV4.server, 22), "timeout");
      assert.equal(await client.connect(IPV4.server, 80), bob ? "timeout" : "open");
      const { grants: sessions } = await site.sessions() as { grants: unknown[] };
      assert.equal(sessions.length, bob ? 0 : 1);
    }
    await served.waitForLine(
      /event=withdrawn client=alice address=10\.0\.0\.2 why="closed by command"/,
    );
  });

  await t.step(
    "a client without a grant: told, not an error; a client that is none is one",
    async () => {
      assert.deepEqual(await close(lab, site, "alice"), {
        code: 0,
        stdout: "",
        stderr: "openme: there was no such grant\n",
      });
      const { stdout } = await close(lab, site, "alice", "--json");
      assert.deepEqual(JSON.parse(stdout), { closed: [], cut: null, failures: [] });
      assert.deepEqual(await close(lab, site, "192.0.2.99"), {
        code: 1,
        stdout: "",
        stderr: "openme: error: there is no grant for 192.0.2.99\n" +
          "openme: hint: openme sessions shows who is let in\n",
      });
      for (
        const [args, hint] of [
          [["alcie"], "did you mean alice?"],
          [["nobody", "--kill", "--json"], "openme list shows them all"],
          [["alcie", "--config", "/nowhere", "--state-dir", site.stateDir], "did you mean alice?"],
        ] as const
      ) {
        assert.deepEqual(await close(lab, site, ...args), {
          code: 1,
          stdout: "",
          stderr: `openme: error: there is no client "${args[0]}"\nopenme: hint: ${hint}\n`,
        });
      }
    },
  );

  await t.step("an established connection goes on, unless --kill cuts it", async () => {
    await knockBoth();
    const [held4, held6, other] = [
      await client.hold(IPV4.server, 22),
      await client.hold(IPV6.server, 22).catch(() => undefined),
      await client.hold(IPV4.server, 80),
    ];
    assert.equal(held6, undefined, "alice knocked over IPv4 alone");
    assert.equal((await close(lab, site, "alice")).code, 0);
    assert.equal(await held4.echoes(), true);
    // Its grant is gone, but its connection is not: that is what --kill is for.
    const { code, stdout, stderr } = await close(lab, site, "alice", "--kill", "--json");
    assert.equal(code, 0, stderr);
    const { closed, cut } = JSON.parse(stdout);
    assert.deepEqual(closed, []);
    assert.deepEqual({ ...cut, missing: undefined }, {
      connections: 1,
      left: [],
      missing: undefined,
    });
    assert.equal(await held4.echoes(500).catch(() => false), false);
    assert.equal(await other.echoes(), true, "bob's connection from the same address goes on");
    const all = await close(lab, site, "--all", "--kill");
    assert.match(
      all.stdout,
      /^closed 80\/tcp for bob at 10\.0\.0\.2\ncut 1 connection\n$/,
    );
    assert.equal(await other.echoes(500).catch(() => false), false);
  });

  await t.step("the socket is for its owner alone, and takes no nonsense", async () => {
    const socket = `${site.stateDir}/control.sock`;
    const { mode } = await Deno.stat(socket);
    assert.equal(mode! & 0o777, 0o600);
    const wrong = [
      "no JSON",
      "[]",
      "null",
      `{"command":"close"}`,
      `{"command":"close","client":"a b"}`,
    ];
    for (const request of [...wrong, `{"command":"reboot"}`, "x".repeat(10_000)]) {
      const answer = await askRaw(socket, request + "\n");
      assert.match(answer, /^(\{"error":.*\}\n)?$/, request);
    }
    // More connections than it takes, none of which says anything, keep nobody out for longer than the deadline.
    const idle = await Promise.all(
      Array.from({ length: 40 }, () => Deno.connect({ transport: "unix", path: socket })),
    );
    await waitFor("room", async () => (await close(lab, site, "--all")).code === 0, {
      timeoutMs: 15_000,
    });
    idle.forEach((each) => each.close());
  });

  await t.step("without a server it says so", async () => {
    await served.stop();
    assert.deepEqual(await close(lab, site, "--all"), {
      code: 1,
      stdout: "",
      stderr: "openme: error: cannot reach openme serve: it is not running\n" +
        "openme: hint: start it: openme serve; or name its folder: --state-dir DIR\n",
    });
  });
});

e2e("revoke --kill cuts what the client holds, and nothing else", async (lab, t) => {
  const clients = { alice: ["22/tcp"], bob: ["22/tcp"], carol: ["22/tcp"] };
  await using site = await Site.create(lab, {
    clients,
    ports: { ssh: ["22/tcp"] },
    knockTimeout: "30s",
  });
  await using served = await site.serve();
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22] });
  await site.knock("alice", ["--wait", "22/tcp"]);
  await site.knock("bob", ["--wait", "22/tcp"], "other");
  const [alices, bobs] = [await client.hold(IPV4.server, 22), await other.hold(IPV4.server, 22)];
  const revoke = (...args: string[]) => openme(lab, "server", ["revoke", "--kill", ...args]);

  await t.step("not before the server has taken the revocation", async () => {
    const elsewhere = `${site.dir}/elsewhere.yaml`;
    await Deno.writeTextFile(elsewhere, await Deno.readTextFile(site.config), { mode: 0o600 });
    const { code, stdout, stderr } = await revoke("alice", "--json", "--config", elsewhere);
    assert.equal(code, 1);
    assert.equal(JSON.parse(stdout).cut, null);
    assert.match(
      stderr,
      /^openme: error: the key is revoked, but no connection was cut: openme serve still knows the client alice\nopenme: hint: .*; then: openme close alice --kill\n/m,
    );
    assert.equal(await alices.echoes(), true);
  });

  await t.step("at once, in force when the command returns", async () => {
    const { code, stdout, stderr } = await revoke("alice", "--config", site.config);
    const told = `closed 22/tcp for alice at ${IPV4.client}\ncut 1 connection\n`;
    assert.deepEqual({ code, stdout }, { code: 0, stdout: told }, stderr);
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
    assert.equal(await alices.echoes(500).catch(() => false), false);
    assert.equal(await bobs.echoes(), true);
    assert.equal(await other.connect(IPV4.server, 22), "open");
    assert.equal((await site.tryKnock("alice", [])).code, 0);
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
  });

  await t.step("also long after the grant has ended", async () => {
    assert.equal((await close(lab, site, "bob")).code, 0);
    assert.equal(await bobs.echoes(), true);
    const { code, stdout } = await revoke("bob", "--config", site.config, "--json");
    assert.equal(code, 0);
    const { revoked, cut } = JSON.parse(stdout);
    assert.deepEqual([revoked.client, cut.connections, cut.left], ["bob", 1, []]);
    assert.equal(await bobs.echoes(500).catch(() => false), false);
    // He is in no configuration any more, but the history knows him.
    const again = await close(lab, site, "bob", "--kill");
    assert.deepEqual([again.code, again.stdout], [0, "cut 0 connections\n"], again.stderr);
  });

  await t.step(
    "without a server the key is revoked, and it says that nothing was cut",
    async () => {
      await served.stop();
      const { code, stderr } = await revoke("carol", "--config", site.config);
      assert.equal(code, 1);
      assert.match(stderr, /^openme: revoked carol /);
      assert.match(stderr, /no connection was cut: cannot reach openme serve: it is not running\n/);
      assert.ok(!(await Deno.readTextFile(site.config)).includes("carol"));
    },
  );
});

async function askRaw(path: string, text: string): Promise<string> {
  const connection = await Deno.connect({ transport: "unix", path });
  await connection.write(new TextEncoder().encode(text)).catch(() => {});
  return await new Response(connection.readable).text().catch(() => "");
}

e2e("close --kill cuts forwarded connections (conntrack)", async (lab) => {
  await using site = await Site.create(lab, { clients: { alice: ["8080/tcp"] } });
  await using served = await site.serve();
  // As Docker publishes a port: the connection ends elsewhere, and no socket of this host knows of it.
  await lab.run("server", ["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  await lab.nft(`table ip publish {
      chain in { type nat hook prerouting priority dstnat; iifname "eth0" tcp dport 8080 dnat to ${IPV4.other}:22; }
      chain out { type nat hook postrouting priority srcnat; ip daddr ${IPV4.other} masquerade; }
    }`);
  const { other, client } = await lab.agents("other", "client");
  await other.listen({ tcp: [22] });
  await site.knock("alice", ["--wait", "8080/tcp"]);
  const held = await client.hold(IPV4.server, 8080);
  assert.equal(await held.echoes(), true);
  await served.waitForLine(/event=expired client=alice/);
  assert.equal(await held.echoes(), true, "established connections live on");
  const { code, stdout, stderr } = await close(lab, site, "alice", "--kill");
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  assert.match(stdout, /^cut [1-9]\d* connections?\n$/);
  assert.equal(await held.echoes(500).catch(() => false), false);
}, { needs: lacks("conntrack") });

e2e("the health port", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], quiet: ["22/tcp"] },
    clientLines: { quiet: ["disable_health_port: true"] },
  });
  await using served = await site.serve();
  const client = await lab.agent("client");
  const status = (...args: string[]) =>
    openme(lab, "client", ["status", "--client-config", `${site.dir}/alice.yaml`, ...args]);

  await t.step("nobody listens and nobody is answered without a grant", async () => {
    assert.equal(await listens(lab, KNOCK_PORT), false);
    assert.equal(await client.connect(IPV4.server, KNOCK_PORT), "timeout");
    assert.deepEqual(await status("--timeout", "300ms"), {
      code: 3,
      stdout: "",
      stderr:
        `openme: error: the health port 54154/tcp of ${IPV4.server} did not answer within 300ms: this machine is not let in\n` +
        "openme: hint: knock first: openme status --knock default\n",
    });
  });

  await t.step("status --knock and knock --check say who is let in", async () => {
    const asked = await status("--knock");
    assert.equal(asked.code, 0, asked.stderr);
    assert.match(
      asked.stdout,
      /^default: alice is let in from 10\.0\.0\.2 to 22\/tcp, [12]s left\n$/,
    );
    const checked = await site.tryKnock("alice", ["--check"]);
    assert.deepEqual({ ...checked, stdout: "" }, { code: 0, stdout: "", stderr: "" });
    assert.equal(checked.stdout, "default: alice is let in from 10.0.0.2 to 22/tcp, 2s left\n");
    const { stdout } = await status("--json");
    const report = JSON.parse(stdout);
    const [answer] = report.answers;
    const [grant] = answer.grants;
    assert.deepEqual([report.profile, report.host], ["default", IPV4.server]);
    assert.equal(answer.address, IPV4.client);
    assert.deepEqual([grant.client, grant.ports], ["alice", ["22/tcp"]]);
    assert.ok(grant.seconds_left > 0 && grant.seconds_left <= 2);
    assert.equal(await listens(lab, KNOCK_PORT), true);
  });

  await t.step("it answers only whoever holds a grant, whatever the firewall says", async () => {
    await site.knock("alice", ["--check"]);
    const other = await lab.agent("other");
    assert.equal(await other.connect(IPV4.server, KNOCK_PORT), "timeout");
    // From the server itself the firewall does not stop anyone: the listener does.
    const own = await lab.output("server", ["sh", "-c", RAW_REQUEST, "sh", IPV4.server]);
    assert.equal(own.stdout, "asked", own.stderr);
  });

  await t.step("it is gone with the last grant", async () => {
    await served.waitForLine(/event=expired client=alice/, LINE_MS, served.lines.length);
    await waitFor("the listener to go", async () => !await listens(lab, KNOCK_PORT));
  });

  await t.step("a client with disable_health_port has none", async () => {
    await site.knock("quiet");
    await served.waitForLine(/event=granted client=quiet/);
    assert.equal(await listens(lab, KNOCK_PORT), false);
  });

  await t.step("a flood of idle connections ends by itself", async () => {
    await site.configure({ knockTimeout: "20s" });
    await served.waitForLine(/event=reloaded/);
    await site.knock("alice", ["--check"]);
    const held = await Promise.all(
      Array.from({ length: 12 }, () => client.hold(IPV4.server, KNOCK_PORT)),
    );
    assert.equal(held.length, 12);
    await waitFor("an answer", async () => (await status("--timeout", "1s")).code === 0, {
      timeoutMs: 12_000,
    });
  });

  await t.step(
    "a knock port that is changed waits for the restart, its health port too",
    async () => {
      const text = await Deno.readTextFile(site.config);
      const changed = text.replace(`udp_port: ${KNOCK_PORT}`, "udp_port: 54155");
      assert.notEqual(changed, text);
      const from = served.lines.length;
      await Deno.writeTextFile(site.config, changed);
      const line = await served.waitForLine(/event=restart_needed/, LINE_MS, from);
      assert.match(line, / changed=server\.udp_port doing="going on with the old value"/);
      await served.waitForLine(/event=reloaded .*54154\/tcp/, LINE_MS, from);
      assert.ok(!served.lines.slice(from).some((each) => /no_longer_guarded/.test(each)));
      await site.knock("alice", ["--check"]);
    },
  );

  await t.step("what another knock opened is no answer to one that was not taken", async () => {
    await site.knock("alice", ["--check"]);
    const stranger = `${site.dir}/stranger.yaml`;
    const text = await Deno.readTextFile(`${site.dir}/alice.yaml`);
    const { privateKey, publicKey } = await keyPairOf(
      "Ed25519",
      crypto.getRandomValues(new Uint8Array(32)),
    );
    await Deno.writeTextFile(
      stranger,
      text.replace(
        /private_key: .*\n {4}public_key: .*/,
        `private_key: ${encodeBase64(concatBytes(privateKey, publicKey))}\n` +
          `    public_key: ${encodeBase64(publicKey)}`,
      ),
      { mode: 0o600 },
    );
    for (const [command, ...more] of [["knock", "--check"], ["status", "--knock"]]) {
      const args = [command!, ...more, "--client-config", stranger];
      assert.deepEqual(await openme(lab, "client", args), {
        code: 3,
        stdout: "",
        stderr:
          `openme: error: ${IPV4.server} did not take this knock; what is open for ${IPV4.client} was opened by another\n` +
          "openme: hint: openme doctor looks for the reason: clock, key, address, ports\n",
      });
    }
    const { code, stdout } = await openme(lab, "client", ["doctor", "--client-config", stranger]);
    assert.equal(code, 1, stdout);
    assert.match(
      stdout,
      /fail {2}knock +not taken; what is open was opened by another: .*alice is/,
    );
    // With a profile whose key is good the same address is let in for certain.
    await site.knock("alice", ["--check"]);
  });
});

/** A request as a shell can make it; prints what comes back within a second. */
const RAW_REQUEST =
  `exec ${Deno.execPath()} eval "const c = await Deno.connect({ hostname: Deno.args[0], port: ${KNOCK_PORT} });
await c.write(new TextEncoder().encode('GET / HTTP/1.1\\r\\n\\r\\n')).catch(() => {});
console.log('asked' + await new Response(c.readable).text().catch(() => ''));" "$1" | tr -d '\\n'`;

e2e("notify runs at each grant, one at a time, without a shell", async (lab, t) => {
  const dir = await Deno.makeTempDir({ prefix: "openme-notify-" });
  const script = `${dir}/notify`;
  await Deno.writeTextFile(
    script,
    `#!/bin/sh
mkdir ${dir}/busy || echo overlap >> ${dir}/told
echo "$# $1 $OPENME_EVENT $OPENME_CLIENT $OPENME_ADDRESS $OPENME_PORTS $OPENME_LIFETIME" >> ${dir}/told
sleep 0.3
rmdir ${dir}/busy
`,
    { mode: 0o755 },
  );
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: ["80/tcp"] },
    knockTimeout: "20s",
    server: [`notify: [${script}, "$(touch ${dir}/shell); x"]`],
  });
  await using served: Served = await site.serve();
  const told = async () =>
    (await Deno.readTextFile(`${dir}/told`).catch(() => "")).trim().split("\n");

  await t.step("with what happened in its environment", async () => {
    // Both at once: the second run must wait for the first, or it finds the folder.
    await Promise.all(["alice", "bob"].map((name) => site.knock(name)));
    await waitFor("two notifications", async () => (await told()).length === 2);
    await site.knock("alice"); // a renewal
    await served.waitForLine(/event=renewed client=alice/);
    await site.knock("alice", ["--ip", "192.0.2.7"]);
    await waitFor("the third", async () => (await told()).length === 3);
    const argument = `1 $(touch ${dir}/shell); x`;
    const lines = await told();
    assert.deepEqual([...lines.slice(0, 2).sort(), ...lines.slice(2)], [
      `${argument} granted alice ${IPV4.client} 22/tcp 20s`,
      `${argument} granted bob ${IPV4.client} 80/tcp 20s`,
      `${argument} granted alice 192.0.2.7 22/tcp 20s`,
    ]);
    await assert.rejects(Deno.stat(`${dir}/shell`), Deno.errors.NotFound);
  });

  await t.step(
    "a program that is not there, or fails, is logged and holds nothing up",
    async () => {
      await site.configure({ server: ["notify: [/nowhere/at-all]"] });
      await served.waitForLine(/event=reloaded/);
      await site.knock("bob", ["--ip", "192.0.2.8"]);
      await served.waitForLine(/event=notify_failed error="cannot run \/nowhere\/at-all: /);
      await site.knock("bob", ["--ip", "192.0.2.9"]);
      await served.waitForLine(/event=granted client=bob address=192\.0\.2\.9/);
    },
  );
  await Deno.remove(dir, { recursive: true });
});
