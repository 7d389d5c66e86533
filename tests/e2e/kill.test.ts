/**
 * `close --kill` and `revoke --kill`, as after a laptop was stolen: real ssh sessions over both families, to the host
 * itself and through a published port, and what is said where not all of them can be cut.
 */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { hide } from "./hidden_program.ts";
import { IPV4, IPV6, type Lab, type Output, type Side } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme, Served } from "./openme.ts";
import type { Program } from "../support/spawned.ts";
import { Site } from "./site.ts";
import { sshMissing, startSshd } from "./sshd.ts";

const needs = await sshMissing();

/** As Docker publishes a port for a container, the third machine. */
const published = (port: number) =>
  `table ip publish {
  chain in { type nat hook prerouting priority dstnat; iifname "eth0" tcp dport ${port} dnat to ${IPV4.other}:22; }
  chain out { type nat hook postrouting priority srcnat; ip daddr ${IPV4.other} masquerade; }
}`;

/** Sessions of ssh from the client, each of which has said something. */
class Sessions {
  readonly #lab: Lab;
  readonly #args: readonly string[];

  private constructor(lab: Lab, args: readonly string[]) {
    this.#lab = lab;
    this.#args = args;
  }

  /** To an sshd on this side, which is started. */
  static async to(lab: Lab, side: Side, { dir }: Site): Promise<Sessions> {
    const keys = `${dir}/${side}`;
    await Deno.mkdir(keys);
    return new Sessions(lab, await startSshd((command) => lab.start(side, command), keys));
  }

  async open(host: string, port = 22): Promise<Program> {
    const ssh = ["ssh", ...this.#args, "-p", String(port), `root@${host}`, "cat"];
    const session = this.#lab.start("client", ssh);
    await session.writeLine("here");
    await session.stdout.waitFor(/^here$/, 10_000);
    return session;
  }
}

async function isAlive(session: Program): Promise<boolean> {
  const from = session.stdout.all.length;
  await session.writeLine("still").catch(() => {});
  return await session.stdout.waitFor(/^still$/, 1000, from).then(() => true, () => false);
}

/** An `ss` as on a kernel that cannot end sockets: it says nothing, and exits 0. */
const POWERLESS_SS = '#!/bin/sh\ncase " $* " in *" -K "*) exit 0;; esac\nexec SS "$@"\n';

/** Starts `serve` behind a command that changes what programs there are. */
async function serveBehind(lab: Lab, { config }: Site, command: readonly string[]) {
  const served = new Served(
    lab.start("server", [...command, ...OPENME, "serve", "--config", config]),
  );
  await served.waitForLine(/listening/, 20_000);
  return served;
}

async function forward(lab: Lab): Promise<void> {
  await lab.run("server", ["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  await lab.nft(published(8022));
}

const CLIENTS = { alice: ["22/tcp", "2222/tcp", "8022/tcp"], bob: ["2222/tcp"] };

e2e("revoke --kill cuts every session of a stolen laptop", async (lab) => {
  await using site = await Site.create(lab, { clients: CLIENTS, knockTimeout: "60s" });
  const sessions = await Sessions.to(lab, "server", site);
  const contained = await Sessions.to(lab, "other", site);
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [2222] }); // on ::, where IPv4 comes as ::ffff:10.0.0.2
  await forward(lab);
  await using served = await site.serve();
  await site.knock("alice", ["--wait", "8022/tcp"]);
  await site.knock("alice", ["--ip", IPV6.client]);
  await site.knock("bob", ["--wait", "2222/tcp"], "other");
  await served.waitForLine(/event=granted client=alice address=fd00::2/);
  const alices = [
    await sessions.open(IPV4.server),
    await sessions.open(IPV6.server),
    await sessions.open(IPV6.server),
    await contained.open(IPV4.server, 8022),
  ];
  const mapped = await client.hold(IPV4.server, 2222);
  const bobs = await other.hold(IPV4.server, 2222);
  const revoked = ["revoke", "alice", "--kill", "--config", site.config];
  const { code, stdout, stderr } = await openme(lab, "server", revoked);
  assert.deepEqual({ code, stdout }, {
    code: 0,
    stdout: `closed 22/tcp 2222/tcp 8022/tcp for alice at ${IPV4.client}
closed 22/tcp 2222/tcp 8022/tcp for alice at ${IPV6.client}
cut 5 connections
`,
  }, stderr);
  assert.deepEqual(await Promise.all(alices.map(isAlive)), alices.map(() => false));
  assert.equal(await mapped.echoes(500).catch(() => false), false);
  for (const host of [IPV4.server, IPV6.server]) {
    assert.equal(await client.connect(host, 22), "timeout");
  }
  assert.equal(await bobs.echoes(), true, "another client's connection goes on");
}, { needs });

e2e("close --kill cuts what networks of both families let in", async (lab) => {
  await using site = await Site.create(lab, {
    clients: CLIENTS,
    knockTimeout: "60s",
    clientLines: { alice: ["prefix: {v4: 24, v6: 64}"] },
  });
  const sessions = await Sessions.to(lab, "server", site);
  await using served = await site.serve();
  await site.knock("alice");
  await site.knock("alice", ["--ip", IPV6.client]);
  await served.waitForLine(/event=granted client=alice address=fd00::\/64/);
  const alices = [await sessions.open(IPV4.server), await sessions.open(IPV6.server)];
  const { code, stdout, stderr } = await close(lab, site, "alice");
  assert.deepEqual({ code, stdout }, {
    code: 0,
    stdout: `closed 22/tcp 2222/tcp 8022/tcp for alice at 10.0.0.0/24
closed 22/tcp 2222/tcp 8022/tcp for alice at fd00::/64
cut 2 connections
`,
  }, stderr);
  assert.deepEqual(await Promise.all(alices.map(isAlive)), [false, false]);
}, { needs });

e2e("close --kill says what it could not cut, and cuts the rest", async (lab, t) => {
  await using site = await Site.create(lab, { clients: CLIENTS, knockTimeout: "60s" });
  const sessions = await Sessions.to(lab, "server", site);
  const contained = await Sessions.to(lab, "other", site);
  await forward(lab);
  const where = async (program: string) =>
    (await lab.run("server", ["sh", "-c", `realpath "$(command -v ${program})"`])).trim();
  await Deno.mkdir(`${site.dir}/bin`);
  await Deno.writeTextFile(`${site.dir}/bin/ss`, POWERLESS_SS.replace("SS", await where("ss")), {
    mode: 0o755,
  });
  const rows: [
    title: string,
    command: string[],
    expected: { cut: number; left: string[]; hint: RegExp },
  ][] = [
    ["conntrack is missing", hide(await where("conntrack")), {
      cut: 2,
      left: [`${IPV4.client} 8022/tcp`],
      hint: /apt-get install conntrack\n/,
    }],
    ["ss is missing", hide(await where("ss")), {
      cut: 1,
      left: [`${IPV4.client} 22/tcp`, `${IPV6.client} 22/tcp`],
      hint: /apt-get install iproute2\n/,
    }],
    ["the kernel cannot end sockets", ["env", `PATH=${site.dir}/bin:${Deno.env.get("PATH")}`], {
      cut: 1,
      left: [`${IPV4.client} 22/tcp`, `${IPV6.client} 22/tcp`],
      hint: /CONFIG_INET_DIAG_DESTROY/,
    }],
  ];
  for (const [title, command, { cut, left, hint }] of rows) {
    await t.step(`where ${title}`, async () => {
      await using served = await serveBehind(lab, site, command);
      await site.knock("alice", ["--wait", "8022/tcp"]);
      await site.knock("alice", ["--ip", IPV6.client]);
      await served.waitForLine(/event=granted client=alice address=fd00::2/);
      const alices = [
        await sessions.open(IPV4.server),
        await sessions.open(IPV6.server),
        await contained.open(IPV4.server, 8022),
      ];
      const { code, stdout, stderr } = await close(lab, site, "alice", "--json");
      assert.equal(code, 1);
      const report = JSON.parse(stdout);
      assert.equal(report.closed.length, 2, "what was closed is told");
      // What an ssh of the step before has not given up yet may be one more.
      assert.ok(report.cut.connections >= cut, stderr);
      assert.deepEqual(
        report.cut.left.map((each: { address: string; ports: string[] }) =>
          `${each.address} ${each.ports}`
        ).sort(),
        left,
      );
      for (const each of left) assert.ok(stderr.includes(`from ${each.split(" ")[0]} port `));
      assert.match(stderr, hint);
      const again = await close(lab, site, "alice");
      assert.equal(again.stdout, "cut 0 connections\n");
      assert.equal(again.code, 1, "what is left is left until it is gone");
      for (const session of alices) await session[Symbol.asyncDispose]();
      await served.stop();
    });
  }
}, { needs });

function close(lab: Lab, site: Site, ...args: string[]): Promise<Output> {
  return openme(lab, "server", ["close", ...args, "--kill", "--config", site.config]);
}
