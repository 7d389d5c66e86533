/**
 * `extend_while_used` with the real nft: traffic of a living ssh session, of a published port and of a network in IPv6
 * keeps grants open, also where openme is dead, and everything that ends a grant ends it.
 */

import assert from "node:assert/strict";
import { pause, waitFor } from "../support/wait.ts";
import type { HeldConnection } from "./agent_client.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6, type Lab } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { sshMissing, startSshd } from "./sshd.ts";
import { opens } from "./timing.ts";
import { LINE_MS } from "../support/spawned.ts";

const KNOCK_TIMEOUT_MS = 2000;
const PUBLISHED = 8443;
/** What Docker does for `-p 8443:22`, the third machine being the container. */
const DOCKER = `table ip docker {
  chain prerouting {
    type nat hook prerouting priority dstnat
    fib daddr type local tcp dport ${PUBLISHED} dnat to ${IPV4.other}:22
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip daddr ${IPV4.other} masquerade
  }
}`;

/** Does something again and again, until it is disposed of. */
class Traffic implements AsyncDisposable {
  #goesOn = true;
  readonly #ended: Promise<void>;

  constructor(send: () => Promise<unknown>) {
    this.#ended = (async () => {
      for (; this.#goesOn; await pause(200)) await send();
    })();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#goesOn = false;
    await this.#ended;
  }
}

/** The elements of a set of openme's table, each with the seconds that it has left. */
async function elements(lab: Lab, set: string): Promise<Map<string, number>> {
  const listing = await lab.run("server", ["nft", "--json", "list", "set", "inet", "openme", set]);
  const { nftables } = JSON.parse(listing) as { nftables: { set?: { elem?: unknown[] } }[] };
  const all = nftables.flatMap(({ set }) => set?.elem ?? []) as {
    elem: { val: unknown; expires: number };
  }[];
  return new Map(all.map(({ elem: { val, expires } }) => [JSON.stringify(val), expires]));
}

const isEmpty = (lab: Lab, set: string) =>
  waitFor(`${set} to be empty`, async () => (await elements(lab, set)).size === 0);

e2e("grants that stay open while they are used", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: [`${PUBLISHED}/tcp`], carol: ["23-24/tcp"] },
    clientLines: {
      alice: ["extend_while_used: 60s"],
      bob: ["extend_while_used: 60s"],
      carol: ["extend_while_used: 60s", "prefix: {v6: 64}"],
    },
    knockTimeout: `${KNOCK_TIMEOUT_MS / 1000}s`,
  });
  const { server, client, other } = await lab.agents("server", "client", "other");
  await lab.run("server", ["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  await lab.nft(DOCKER);
  await server.listen({ tcp: [23, 24] });
  await other.listen({ tcp: [22] });
  const sshArgs = await startSshd((command) => lab.start("server", command), site.dir);
  let served = await site.serve();
  const places = [[IPV4.server, 22], [IPV4.server, PUBLISHED], [IPV6.server, 24]] as const;
  const areOpen = async () => {
    for (const [host, port] of places) await opens(client, host, port);
  };
  const command = async (...args: string[]) => {
    const { code, stdout, stderr } = await openme(lab, "server", [
      ...args,
      "--config",
      site.config,
    ]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const said = (pattern: RegExp) =>
    waitFor(String(pattern), async () => pattern.test(await command("sessions")), {
      timeoutMs: 8000,
    });

  await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
  await client.send(await site.seal("bob"), IPV4.server, KNOCK_PORT);
  await client.send(await site.seal("carol"), IPV6.server, KNOCK_PORT);
  const ssh = lab.start("client", ["ssh", "-F", "none", ...sshArgs, `root@${IPV4.server}`, "cat"]);
  const inContainer = await client.hold(IPV4.server, PUBLISHED);
  const overIpv6 = await client.hold(IPV6.server, 23);
  let idle: HeldConnection;
  let capLeft = 60;
  {
    await using _traffic = new Traffic(async () => {
      await ssh.writeLine("still here");
      assert.ok(await inContainer.echoes());
      assert.ok(await overIpv6.echoes());
    });
    await ssh.stdout.waitFor(/still here/);

    await t.step(
      "new connections are let in, from there alone, once the knock is over",
      async () => {
        for (const set of ["granted4", "prefix6_64", "prefix6_64_ranges"]) await isEmpty(lab, set);
        for (const set of ["active4", "active6_64"]) {
          assert.equal((await elements(lab, set)).size, 1);
        }
        for (const [host, port] of places.slice(0, 2)) {
          assert.equal(await other.connect(host, port), "timeout", `${host} ${port}`);
        }
        await said(/alice .* 22\/tcp .* open while used, at most until /);
        assert.ok(
          !served.lines.some((line) => line.includes("event=expired")),
        );
      },
    );

    await t.step(
      "killed, openme is not missed; another keeps all of it, and lengthens nothing",
      async () => {
        await served.kill("SIGKILL");
        await pause(KNOCK_TIMEOUT_MS + 500);
        await areOpen();
        [capLeft] = [...(await elements(lab, "extended4")).values()] as [number];
        served = await site.serve();
        for (const set of ["granted4", "prefix6_64_ranges"]) {
          assert.equal((await elements(lab, set)).size, 0);
        }
        await areOpen();
        // A stranger in the same network: the client was first after the restart.
        assert.equal(await other.connect(IPV6.server, 24), "timeout");
        for (const set of ["extended4", "extended6_64_ranges"]) {
          const left = [...(await elements(lab, set)).values()];
          assert.ok(left.length > 0 && left.every((seconds) => seconds <= capLeft), set);
        }
      },
    );
    idle = await client.hold(IPV4.server, PUBLISHED);
  }

  await t.step("what is not used closes", async () => {
    await isEmpty(lab, "active4");
    await isEmpty(lab, "active6_64");
    for (const [host, port] of places) assert.equal(await client.connect(host, port), "timeout");
    await said(
      /alice .* closed, unused: a connection that lives on opens it again, at most until /,
    );
  });

  await t.step("a handshake that is not finished keeps nothing open", async () => {
    // From before the knock on: attempts of before may still be under way.
    const deaf =
      "table ip deaf { chain input { type filter hook input priority 0; tcp sport 22 drop; }; }";
    await lab.run("client", ["nft", "-f", "-"], deaf);
    await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
    await waitFor("the grant", async () => (await elements(lab, "granted4")).size > 0);
    // SYN, and SYN again after a second: by then the server has answered, and the second counts as established.
    const attempt = await client.connect(IPV4.server, 22, 1500);
    const active = await elements(lab, "active4");
    await lab.run("client", ["nft", "delete table ip deaf"]);
    assert.equal(attempt, "timeout");
    assert.equal(active.size, 0);
  });

  await t.step("a connection that lived on opens all that its address has", async () => {
    await isEmpty(lab, "granted4");
    assert.ok(await idle.echoes());
    for (const [host, port] of places.slice(0, 2)) await opens(client, host, port);
  });
  await using _traffic = new Traffic(() => idle.echoes());

  await t.step(
    "reload, close and revoke end it, and what was sent does not bring it back",
    async () => {
      const isClosed = async () => {
        assert.equal(await client.connect(IPV4.server, 22), "timeout");
        assert.ok(await idle.echoes());
      };
      const reopens = async () => {
        const knock = await site.seal("alice");
        await client.send(knock, IPV4.server, KNOCK_PORT);
        await opens(client, IPV4.server, 22);
        return knock;
      };
      await site.configure({
        clientLines: { alice: ["extend_while_used: off"], bob: ["extend_while_used: 60s"] },
      });
      await served.waitForLine(/event=reloaded /);
      await waitFor("the cap to go", async () => {
        return ![...(await elements(lab, "extended4")).keys()].some((key) => key.includes(",22]"));
      });
      await isClosed();
      const from = served.lines.length;
      await site.configure({
        clientLines: { alice: ["extend_while_used: 60s"], bob: ["extend_while_used: 60s"] },
      });
      await served.waitForLine(/event=reloaded /, LINE_MS, from);
      await isClosed();
      const knock = await reopens();
      await command("close", "alice");
      await isClosed();
      await client.send(knock, IPV4.server, KNOCK_PORT);
      await isClosed();
      await reopens();
      await command("revoke", "alice");
      await served.waitForLine(/event=withdrawn client=alice .*revoked/);
      await isClosed();
    },
  );

  await t.step("the cap ends it under a living session, without openme as well", async () => {
    const lines = ["extend_while_used: 4s"];
    await site.configure({ clients: { dora: ["22/tcp"] }, clientLines: { dora: lines } });
    await served.waitForLine(/event=reloaded .* clients=1 /);
    const fromMs = performance.now();
    await client.send(await site.seal("dora"), IPV4.server, KNOCK_PORT);
    await opens(client, IPV4.server, 22);
    const openMs = performance.now();
    await served.kill("SIGKILL");
    await using _session = new Traffic(() => ssh.writeLine("on and on"));
    await pause(fromMs + 3000 - performance.now());
    await opens(client, IPV4.server, 22);
    await pause(openMs + 4500 - performance.now());
    assert.equal(await client.connect(IPV4.server, 22), "timeout");
    await isEmpty(lab, "active4");
  });
  await ssh.closeStdin();
}, { needs: await sshMissing() });
