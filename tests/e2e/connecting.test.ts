/** Knocking until a port accepts, going on knocking, and carrying a connection. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6, type Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

/** Drops every knock before openme's own chains see it, and counts them. */
const LOSE_KNOCKS = `table inet lossy {
  chain early { type filter hook prerouting priority -400; udp dport ${KNOCK_PORT} counter drop; }
}`;

async function lostKnocks(lab: Lab): Promise<number> {
  const listing = await lab.run("server", ["nft", "list", "table", "inet", "lossy"]);
  return Number(/packets (\d+)/.exec(listing)?.[1]);
}

/** A command of openme's with `hosts` as its /etc/hosts. */
function withHosts(hosts: string, args: readonly string[]): string[] {
  return ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts, ...OPENME, ...args];
}

e2e("knock --wait and --continuous", async (lab, t) => {
  await using site = await Site.create(lab, { clients: { alice: ["22/tcp"], bob: ["22/tcp"] } });
  await using served = await site.serve();
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  const alice = `${site.dir}/alice.yaml`;
  const wait = (...args: string[]) => site.tryKnock("alice", args);

  await t.step("--wait returns when the port accepts", async () => {
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
    assert.deepEqual(await wait("--wait", "22/tcp"), { code: 0, stdout: "", stderr: "" });
    assert.equal(await client.connect(IPV4.server, 22), "open");
    const { code, stdout } = await wait("--wait", "22", "--json");
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(stdout), {
      profile: "default",
      host: IPV4.server,
      sent: [{ address: IPV4.server, failure: null }],
      opened: { address: IPV4.server, ports: ["22/tcp"] },
    });
  });

  await t.step("--wait knocks again while nothing happens", async () => {
    await waitFor("the port to close", async () => !await client.reaches(IPV4.server, 22));
    await lab.nft(LOSE_KNOCKS);
    const waiting = wait("--wait", "22/tcp");
    await waitFor("two lost knocks", async () => await lostKnocks(lab) >= 2);
    await lab.nft("delete table inet lossy");
    const { code, stderr } = await waiting;
    assert.equal(code, 0, stderr);
  });

  await t.step("--wait says what it tried, with exit code 3", async () => {
    const closed = await wait("--wait", "80/tcp", "--timeout", "1500ms");
    assert.deepEqual(closed, {
      code: 3,
      stdout: "",
      stderr:
        `openme: error: port 80/tcp of ${IPV4.server} did not open within 1.5s (2 knocks; ${IPV4.server}: refused)\n` +
        "openme: hint: refused means that the way is open and no program listens there: is the service running?\n",
    });
    await site.configure({ ports: { web: ["80/tcp"] } });
    await served.waitForLine(/event=reloaded/);
    const dropped = await wait("--wait", "80/tcp", "--timeout", "300ms");
    assert.deepEqual(dropped, {
      code: 3,
      stdout: "",
      stderr:
        `openme: error: port 80/tcp of ${IPV4.server} did not open within 300ms (1 knock; ${IPV4.server}: no answer)\n` +
        "openme: hint: openme doctor looks for the reason: clock, key, address, ports\n",
    });
  });

  await t.step(
    "--continuous keeps the port open; post_knock runs once and holds nothing up",
    async () => {
      const ran = `${site.dir}/ran`;
      // A line that never ends by itself: repetitions must not wait for it.
      const line = `echo ran >> ${ran}; exec sleep 1000 > /dev/null 2>&1 < /dev/null`;
      await Deno.writeTextFile(alice, `    post_knock: ${JSON.stringify(line)}\n`, {
        append: true,
      });
      const from = served.lines.length;
      const program = lab.start("client", [
        ...OPENME,
        ...["knock", "--continuous", "--interval", "1s", "--client-config", alice],
      ]);
      let at = from;
      for (let renewals = 0; renewals < 4; renewals++) {
        const renewed = await served.waitForLine(/event=renewed client=alice/, LINE_MS, at);
        at = served.lines.indexOf(renewed, at) + 1;
        assert.equal(await client.connect(IPV4.server, 22), "open");
      }
      const { code } = await program.kill("SIGTERM");
      assert.equal(code, 0, String(program.stderr));
      assert.equal(await Deno.readTextFile(ran), "ran\n");
    },
  );

  await t.step("--continuous outlives a network that is gone for a while", async () => {
    const program = lab.start("client", [
      ...OPENME,
      ...["knock", "--continuous", "--interval", "1s", "--client-config", `${site.dir}/bob.yaml`],
    ]);
    await served.waitForLine(/event=granted client=bob/);
    await lab.run("client", ["ip", "link", "set", "eth0", "down"]);
    await program.stderr.waitFor(/^openme: error: cannot knock at .*; trying again$/);
    await lab.run("client", ["ip", "link", "set", "eth0", "up"]);
    await lab.run("client", ["ip", "route", "replace", "default", "dev", "eth0"]);
    await program.stderr.waitFor(/^openme: knocking at 10\.0\.0\.1 again$/, 10_000);
    assert.equal((await program.kill("SIGINT")).code, 0);
  });
});

e2e("a name server that does not answer, and a network that is not there yet", async (lab, t) => {
  await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
  await using served = await site.serve();
  await (await lab.agent("server")).listen({ tcp: [22] });
  const config = await site.clientConfig("alice", "box.test");
  const resolver = `${site.dir}/resolv.conf`;
  await Deno.writeTextFile(resolver, "nameserver 10.0.0.99\n"); // an address that nobody has
  const deaf = (...args: string[]) => {
    const script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
    const command = [...OPENME, args[0]!, "--client-config", config, ...args.slice(1)];
    return lab.output("client", ["sh", "-c", script, resolver, ...command]);
  };
  const closed = (port: number, host: string) => ({
    code: 3,
    stdout: "",
    stderr:
      `openme: error: port ${port}/tcp of ${host} did not open within 300ms (0 knocks; box.test: no answer from the name server)\n` +
      "openme: hint: is this machine online, and are its name servers right?\n",
  });

  // The system's resolver gives up after ten seconds, with another exit code.
  await t.step("--timeout holds for names as well", async () => {
    const timeout = ["--timeout", "300ms"];
    assert.deepEqual(await deaf("knock", "--wait", "22/tcp", ...timeout), closed(22, "box.test"));
    assert.deepEqual(await deaf("connect", "box.test", "22", ...timeout), closed(22, "box.test"));
    assert.deepEqual(await deaf("connect", "10.0.0.1", "22", ...timeout), closed(22, "10.0.0.1"));
    assert.deepEqual(await deaf("status", ...timeout), {
      code: 1,
      stdout: "",
      stderr: "openme: error: cannot resolve box.test within 300ms\n" +
        "openme: hint: is this machine online, and are its name servers right?\n",
    });
  });

  await t.step("of two names the error means the one that is wrong", async () => {
    const alice = await site.clientConfig("alice", IPV4.server);
    await Deno.writeTextFile(resolver, "nameserver 127.0.0.1\n"); // refuses: the answer is there at once
    const { code, stderr } = await deaf(
      "connect",
      "nosuch.invalid",
      "22",
      "--client-config",
      alice,
    );
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^openme: error: cannot resolve nosuch\.invalid: .*\nopenme: hint: check the HOST that was given, and this machine's DNS\n$/,
    );
  });

  await t.step("--continuous that starts without a network knocks when there is one", async () => {
    await lab.run("client", ["ip", "link", "set", "eth0", "down"]);
    const ran = `${site.dir}/ran`;
    const alice = await site.clientConfig("alice", IPV4.server);
    const line = `    post_knock: ${JSON.stringify(`echo ran >> ${ran}`)}\n`;
    await Deno.writeTextFile(alice, line, { append: true });
    const command = [
      ...OPENME,
      ...["knock", "--continuous", "--interval", "1s", "--client-config", alice],
    ];
    const program = lab.start("client", command);
    await program.stderr.waitFor(/^openme: error: cannot knock at .*; trying again$/, 15_000);
    const stopped = lab.start("client", command);
    await stopped.stderr.waitFor(/; trying again$/, 15_000);
    assert.equal((await stopped.kill("SIGTERM")).code, 0);
    await lab.run("client", ["ip", "link", "set", "eth0", "up"]);
    await lab.run("client", ["ip", "route", "replace", "default", "dev", "eth0"]);
    await served.waitForLine(/event=granted client=alice/, 15_000);
    await waitFor("post_knock", () => Deno.stat(ran).then(() => true, () => false));
    await served.waitForLine(/event=renewed client=alice/, 15_000);
    assert.equal((await program.kill("SIGTERM")).code, 0);
    assert.deepEqual(program.stderr.all.filter((each) => each.includes("trying again")).length, 1);
    assert.equal(await Deno.readTextFile(ran), "ran\n");
  });
});

e2e("openme connect", async (lab, t) => {
  await using site = await Site.create(lab, { clients: { alice: ["22-24/tcp"] } });
  await using _served = await site.serve();
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  const script = fileURLToPath(new URL("./half_close_server.ts", import.meta.url));
  const halves = lab.start("server", [Deno.execPath(), "run", "-A", "--no-config", script]);
  await halves.stdout.waitFor(/^ready$/, 15_000);
  const config = await site.clientConfig("alice", "box.test");
  const connect = (...args: string[]) => ["connect", "--client-config", config, ...args];
  const hosts = async (...addresses: string[]) => {
    const path = `${site.dir}/hosts`;
    await Deno.writeTextFile(path, addresses.map((each) => `${each} box.test\n`).join(""));
    return path;
  };
  const both = await hosts(IPV6.server, IPV4.server);

  await t.step("what the end of its input ends is only its own side", async () => {
    const command = withHosts(both, connect("default", "23"));
    const { code, stdout, stderr } = await lab.output("client", command, "seven b");
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "was given 7\n", stderr: "" });
  });

  await t.step("when the server has ended its side, the input goes on", async () => {
    const program = lab.start("client", withHosts(both, connect("default", "24")));
    await program.stdout.waitFor(/^that is all$/);
    await program.writeLine("12345");
    await program.writeLine("12345");
    await program.closeStdin();
    await halves.stdout.waitFor(/^was given 12$/);
    assert.equal((await program.status).code, 0);
  });

  await t.step("when the server has ended its side and no more input comes, it ends", async () => {
    const program = lab.start("client", withHosts(both, connect("default", "24")));
    await program.stdout.waitFor(/^that is all$/);
    assert.equal((await program.status).code, 0);
  });

  await t.step("the connection lives past the grant", async () => {
    const program = lab.start("client", withHosts(both, connect("default", "box.test", "22")));
    await program.writeLine("early");
    await program.stdout.waitFor(/^early$/);
    await waitFor("the port to close", async () => !await client.reaches(IPV4.server, 22));
    await waitFor("the port to close", async () => !await client.reaches(IPV6.server, 22));
    await program.writeLine("late");
    await program.stdout.waitFor(/^late$/);
    await program.closeStdin();
    assert.equal((await program.status).code, 0);
  });

  await t.step("a family that is dead does not hold up the other", async () => {
    const deadEnds = [["fd00::dead", IPV4.server], ["10.0.0.99", IPV6.server]];
    for (const addresses of deadEnds) {
      const path = await hosts(...addresses);
      const command = withHosts(path, connect("box.test", "22", "--timeout", "5s"));
      const { code, stdout, stderr } = await lab.output("client", command, "hello\n");
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "hello\n", stderr: "" });
    }
  });

  await t.step("of two families that both work the service sees one connection", async () => {
    const path = await hosts(IPV6.server, IPV4.server);
    await lab.nft("table inet count { chain input { type filter hook input priority 10; }\n }");
    await lab.run("server", ["nft", "add rule inet count input tcp dport 23 ct state new counter"]);
    const { code } = await lab.output("client", withHosts(path, connect("box.test", "23")), "x");
    assert.equal(code, 0);
    const listing = await lab.run("server", ["nft", "list", "table", "inet", "count"]);
    assert.match(listing, /counter packets 1 /);
    await lab.run("server", ["nft", "delete", "table", "inet", "count"]);
  });

  await t.step("a port that does not open is exit code 3, and stdout stays empty", async () => {
    const { code, stdout, stderr } = await openme(lab, "client", [
      "connect",
      ...["--client-config", await site.clientConfig("alice", IPV4.server)],
      ...[IPV4.server, String(KNOCK_PORT + 1), "--timeout", "500ms"],
    ]);
    assert.deepEqual({ code, stdout }, { code: 3, stdout: "" });
    assert.match(
      stderr,
      /^openme: error: port 54155\/tcp of 10\.0\.0\.1 did not open within 500ms /,
    );
  });
});

e2e("openme connect carries a large transfer, byte for byte, and ends with it", async (lab) => {
  await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
  await using _served = await site.serve();
  await (await lab.agent("server")).listen({ tcp: [22] });
  const [sent, received] = [`${site.dir}/sent`, `${site.dir}/received`];
  await lab.run("client", ["sh", "-c", `head -c 50000000 /dev/urandom > ${sent}`]);
  const command = [...OPENME, "connect", "--client-config", `${site.dir}/alice.yaml`];
  const shell = ["sh", "-c", `exec "$@" < ${sent} > ${received}`, "sh", ...command];
  const { code, stdout, stderr } = await lab.output("client", [...shell, IPV4.server, "22"]);
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
  await lab.run("client", ["cmp", sent, received]);
});
