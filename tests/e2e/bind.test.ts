/** A client with several uplinks: knocks and connections from the address or the interface that `--bind` names. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6, SECOND_IPV4 } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

/** The client's address on the second cable; a knock to 10.0.0.1 goes over the first one all the same. */
const SECOND = "10.0.1.2";

e2e("--bind", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp", "23/tcp", "24/tcp"] },
    knockTimeout: "20s",
  });
  await using served = await site.serve();
  const server = await lab.agent("server");
  await server.listen({ tcp: [22] });
  const script = fileURLToPath(new URL("./half_close_server.ts", import.meta.url));
  const halves = lab.start("server", [Deno.execPath(), "run", "-A", "--no-config", script]);
  await halves.stdout.waitFor(/^ready$/, 15_000);
  const config = `${site.dir}/alice.yaml`;
  const as = (...args: string[]) => openme(lab, "client", [...args, "--client-config", config]);
  const granted = async (work: () => Promise<{ code: number; stderr: string }>) => {
    const from = served.lines.length;
    const { code, stderr } = await work();
    assert.equal(code, 0, stderr);
    const line = await served.waitForLine(/event=(granted|renewed) client=alice/, LINE_MS, from);
    return / address=(\S+)/.exec(line)?.[1];
  };

  await t.step("a knock comes from the address, or from that of the interface", async () => {
    assert.equal(await granted(() => as("knock")), IPV4.client);
    assert.equal(await granted(() => as("knock", "--bind", "eth1")), SECOND);
    assert.equal(await granted(() => as("knock", "--bind", IPV4.client)), IPV4.client);
    await site.clientConfig("alice", SECOND_IPV4);
    assert.equal(await granted(() => as("knock")), SECOND);
    assert.equal(await granted(() => as("knock", "--bind", "eth0")), IPV4.client);
    await site.clientConfig("alice", IPV4.server);
  });

  await t.step("the profile's bind holds, and the flag wins", async () => {
    await Deno.writeTextFile(config, `    bind: "${SECOND}"\n`, { append: true });
    assert.equal(await granted(() => as("knock")), SECOND);
    assert.equal(await granted(() => as("knock", "--bind", "eth0")), IPV4.client);
    await site.clientConfig("alice", IPV4.server);
  });

  await t.step("at debug it is told what was sent, from where", async () => {
    const { stderr } = await as("knock", "--log-level", "debug", "--bind", "eth1");
    assert.match(
      stderr,
      /^time=\S+ level=debug event=knock_sent address=10\.0\.0\.1 port=\d+ bytes=165 from=10\.0\.1\.2\n$/,
    );
    assert.match(stderr, new RegExp(` port=${KNOCK_PORT} `));
    const plain = await as("knock", "--log-level", "debug", "--log-format", "json");
    const { time: _, ...told } = JSON.parse(plain.stderr);
    assert.deepEqual(told, {
      level: "debug",
      event: "knock_sent",
      address: IPV4.server,
      port: KNOCK_PORT,
      bytes: 165,
    });
    assert.equal((await as("knock", "--bind", "eth1")).stderr, "");
    const connected = await as("connect", IPV4.server, "22", "--log-level", "debug");
    assert.match(connected.stderr, /event=knock_sent/);
    const asked = await as("status", "--knock", "--log-level", "debug");
    assert.match(asked.stderr, /event=knock_sent/);
  });

  await t.step(
    "a family without an address is left out, or refused where it is asked for",
    async () => {
      const hosts = `${site.dir}/hosts`;
      await Deno.writeTextFile(hosts, `${IPV6.server} box.test\n${IPV4.server} box.test\n`);
      const named = await site.clientConfig("alice", "box.test");
      const knock = async (...args: string[]) => {
        const command = [...OPENME, "knock", "--json", "--client-config", named, ...args];
        const all = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts, ...command];
        const { code, stdout, stderr } = await lab.output("client", all);
        return { code, stderr, to: code === 0 ? JSON.parse(stdout).sent : [] };
      };
      const v4 = { address: IPV4.server, failure: null };
      const v6 = { address: IPV6.server, failure: null };
      assert.deepEqual(await knock("--bind", "eth1"), { code: 0, stderr: "", to: [v4] });
      assert.deepEqual(await knock("--bind", IPV6.client), { code: 0, stderr: "", to: [v6] });
      assert.equal((await knock("--bind", "eth0")).to.length, 2);
      const wrong = await knock("--bind", IPV4.client, "-6");
      assert.equal(wrong.code, 1);
      assert.match(
        wrong.stderr,
        /^openme: error: 10\.0\.0\.2, to which openme is bound, has no IPv6\n/,
      );
      await site.clientConfig("alice", IPV6.server);
      const unreachable = await as("knock", "--bind", "eth1");
      assert.equal(unreachable.code, 1);
      assert.match(
        unreachable.stderr,
        /error: fd00::1 \(fd00::1\) cannot be reached from 10\.0\.1\.2/,
      );
      await site.clientConfig("alice", IPV4.server);
    },
  );

  await t.step("wrong names, with what there is", async () => {
    for (
      const [bind, error] of [
        ["eth7", 'this machine has no interface "eth7" with an address'],
        ["192.0.2.9", "192.0.2.9 is no address of this machine"],
        ["0.0.0.0", "0.0.0.0 is no address of this machine"],
      ] as const
    ) {
      const { code, stderr } = await as("knock", "--bind", bind);
      assert.equal(code, 1);
      assert.equal(stderr.split("\n")[0], `openme: error: ${error}`);
      assert.match(stderr, /\nopenme: hint: there is .*eth1 \(10\.0\.1\.2/);
    }
    assert.equal((await as("knock", "--bind", "")).code, 2);
  });

  await t.step("--continuous waits for an interface that is not there yet", async () => {
    const command = ["knock", "--continuous", "--interval", "1s", "--bind", "late0"];
    const program = lab.start("client", [...OPENME, ...command, "--client-config", config]);
    await program.stderr.waitFor(/no interface "late0" with an address; trying again$/);
    const from = served.lines.length;
    await lab.run("client", ["ip", "link", "add", "late0", "type", "veth", "peer", "late1"]);
    await lab.run("client", ["ip", "address", "add", "10.0.0.77/32", "dev", "late0"]);
    await lab.run("client", ["ip", "link", "set", "late0", "up"]);
    await served.waitForLine(/event=granted client=alice address=10\.0\.0\.77 /, LINE_MS, from);
    assert.equal((await program.kill("SIGTERM")).code, 0);
  });

  const waited = await as("knock", "--wait", "22/tcp", "--bind", "eth1");
  if (waited.code === 1 && /with Deno 2\.6\./.test(waited.stderr)) {
    // Its node:net passes over the address: nothing connects from another one than was asked for.
    for (const args of [["connect", IPV4.server, "22"], ["status"]]) {
      const { code, stderr } = await as(...args, "--bind", "eth1");
      assert.equal(code, 1);
      assert.match(stderr, /cannot connect from a given address with Deno 2\.6\.\S+, only knock/);
    }
    return;
  }
  assert.deepEqual(waited, { code: 0, stdout: "", stderr: "" });

  await t.step("--check and status ask from there", async () => {
    const checked = await as("knock", "--check", "--json", "--bind", "eth1");
    assert.equal(checked.code, 0, checked.stderr);
    assert.equal(JSON.parse(checked.stdout).checked.address, SECOND);
    const asked = await as("status", "--json", "--bind", SECOND);
    assert.equal(JSON.parse(asked.stdout).answers[0].address, SECOND);
  });

  await t.step("doctor goes the profile's way", async () => {
    await Deno.writeTextFile(config, `    bind: eth1\n`, { append: true });
    const { code, stdout, stderr } = await as("doctor");
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /route .*to 10\.0\.0\.1 from 10\.0\.1\.2 on eth0/);
    assert.match(stdout, /knock .*let in from 10\.0\.1\.2 to/);
    await site.clientConfig("alice", IPV4.server);
  });

  await t.step("a port that nobody listens on is refused, as it is without", async () => {
    const { code, stderr } = await as(
      "connect",
      IPV4.server,
      "80",
      "--timeout",
      "1s",
      "--bind",
      "eth1",
    );
    assert.equal(code, 3);
    assert.match(stderr, /80\/tcp of 10\.0\.0\.1 did not open within 1s .*10\.0\.0\.1: refused\)/);
  });

  await t.step("connect carries both ways, and each side ends by itself", async () => {
    const command = (port: string) => [
      ...[...OPENME, "connect", "--client-config", config, "--bind", "eth1"],
      ...[IPV4.server, port],
    ];
    const much = "x".repeat(3_000_000);
    const counted = await lab.output("client", command("23"), much);
    assert.deepEqual(counted, { code: 0, stdout: "was given 3000000\n", stderr: "" });
    const program = lab.start("client", command("24"));
    await program.stdout.waitFor(/^that is all$/);
    await program.writeLine("12345");
    await program.closeStdin();
    await halves.stdout.waitFor(/^was given 6$/);
    assert.equal((await program.status).code, 0);
    const echo = lab.start("client", command("22"));
    await echo.writeLine("early");
    await echo.stdout.waitFor(/^early$/);
    const peers = await lab.run("server", ["ss", "-Htn", "state", "established", "sport = :22"]);
    assert.match(peers, /10\.0\.1\.2/);
    await echo.closeStdin();
    assert.equal((await echo.status).code, 0);
  });

  await t.step("a link-local server, from its interface", async () => {
    const show = ["ip", "-6", "address", "show", "dev", "eth0", "scope", "link"];
    const settled = async (side: "server" | "client") => {
      const text = await lab.run(side, show);
      return /tentative/.test(text) ? undefined : /inet6 (fe80:\S+)\/64/.exec(text)?.[1];
    };
    await waitFor(
      "link-local addresses",
      async () => await settled("server") !== undefined && await settled("client") !== undefined,
    );
    await site.clientConfig("alice", `${await settled("server")}%eth0`);
    const own = await settled("client");
    assert.equal(await granted(() => as("knock", "--bind", "eth0")), own);
    const { code, stderr } = await as("knock", "--wait", "22/tcp", "--bind", own!);
    assert.equal(code, 0, stderr);
  });
});
