/** A grant for a network, narrowed by nft: the first address that connects is in, one more with each knock. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6, type Lab, type Side } from "./lab.ts";
import { openme, type Served } from "./openme.ts";
import { BOTH, HOST_FIREWALL, type Mode, OWN_TABLE } from "./rules.ts";
import { Site, type SiteOptions } from "./site.ts";
import { closesOnTime } from "./timing.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

/** How long an attempt may take before it is given up. */
const CLOSED_AFTER_MS = 400;

/** Somebody in the network of the lab: a side, and one of its addresses. */
interface Guest {
  readonly side: Side;
  readonly address: string;
}

/** Three of each family, two of them on one side. */
const GUESTS = {
  4: [
    { side: "other", address: IPV4.other },
    { side: "client", address: IPV4.client },
    { side: "client", address: "10.0.0.4" },
  ],
  6: [
    { side: "other", address: IPV6.other },
    { side: "client", address: IPV6.client },
    { side: "client", address: "fd00::4" },
  ],
} as const satisfies Record<4 | 6, readonly [Guest, Guest, Guest]>;

function serverOf({ address }: Guest): string {
  return address.includes(":") ? IPV6.server : IPV4.server;
}

/** From now on this side's packets to the server leave from that address. */
async function speakFrom(lab: Lab, guest: Guest): Promise<void> {
  const { side, address } = guest;
  await lab.run(side, ["ip", "route", "replace", serverOf(guest), "dev", "eth0", "src", address]);
}

/**
 * Whether a TCP connection from there comes about. In a process of its own, so that nothing is sent after it was given
 * up: a SYN that is repeated could be the first to come after a later knock.
 */
async function connects(lab: Lab, guest: Guest, port = 22): Promise<boolean> {
  await speakFrom(lab, guest);
  const to = JSON.stringify({ hostname: serverOf(guest), port });
  // Its time is counted in turns of its loop, as withinTurns() does.
  const script = `let turns = 0;
    setInterval(() => ++turns === ${CLOSED_AFTER_MS / 20} && Deno.exit(3), 20);
    Deno.connect(${to}).then(() => Deno.exit(0), () => Deno.exit(3));`;
  const { code, stderr } = await lab.output(guest.side, [Deno.execPath(), "eval", script]);
  assert.ok(code === 0 || code === 3, stderr);
  return code === 0;
}

/** Whether a datagram from there is echoed. */
async function echoes(lab: Lab, guest: Guest, port = 5353): Promise<boolean> {
  await speakFrom(lab, guest);
  return await (await lab.agent(guest.side)).echoesUdp(serverOf(guest), port);
}

async function prepare(lab: Lab): Promise<void> {
  await Promise.all((["server", "client", "other"] as const).map((side) => lab.agent(side)));
  await (await lab.agent("server")).listen({ tcp: [22, 80], udp: [5353] });
  for (const guest of [GUESTS[4][2], GUESTS[6][2]]) {
    const nodad = guest.address.includes(":") ? ["nodad"] : [];
    await lab.run(guest.side, ["ip", "address", "add", guest.address, "dev", "eth0", ...nodad]);
  }
}

async function create(lab: Lab, mode: Mode, options: Partial<SiteOptions> = {}): Promise<Site> {
  const site = await Site.create(lab, {
    clients: { alice: ["22/tcp", "5353/udp"] },
    clientLines: { alice: ["prefix: {v4: 24, v6: 64}"] },
    dropPorts: mode.dropPorts,
    knockTimeout: "60s",
    ...options,
  });
  await lab.nft(mode.hostRules);
  return site;
}

/** Sends a knock for this guest's address and waits until the firewall has it. */
async function knock(
  lab: Lab,
  site: Site,
  served: Served,
  target: string,
  client = "alice",
): Promise<string> {
  const from = served.lines.length;
  await (await lab.agent("client")).send(
    await site.seal(client, { target }),
    IPV4.server,
    KNOCK_PORT,
  );
  return await served.waitForLine(new RegExp(`(granted|renewed) client=${client} `), 10_000, from);
}

e2e("a grant for a network, with nft", async (lab, t) => {
  await prepare(lab);

  const kinds = [[OWN_TABLE, 4], [OWN_TABLE, 6], [HOST_FIREWALL, 4], [BOTH, 6]] as const;
  for (const [mode, family] of kinds) {
    await t.step(`lets in who connects first, over IPv${family} (${mode.title})`, async () => {
      const [first, second, third] = GUESTS[family];
      await using site = await create(lab, mode);
      await using served = await site.serve();
      assert.equal(await connects(lab, first), false);
      const line = await knock(lab, site, served, second.address);
      assert.match(line, family === 4 ? /address=10\.0\.0\.0\/24 / : /address=fd00::\/64 /);
      assert.ok(await connects(lab, first), "who comes first need not be who knocked");
      assert.ok(await connects(lab, first), "and comes again");
      assert.ok(await echoes(lab, first), "to the other port as well");
      assert.deepEqual(
        [await connects(lab, second), await echoes(lab, second), await connects(lab, third)],
        [false, false, false],
      );

      await knock(lab, site, served, second.address);
      assert.ok(await echoes(lab, second), "one more with the next knock, by a datagram");
      assert.ok(await connects(lab, second));
      assert.ok(await connects(lab, first), "who was in stays in");
      assert.equal(await connects(lab, third), false);

      await knock(lab, site, served, second.address);
      assert.ok(await connects(lab, first), "who was in may be the first again");
      assert.deepEqual([await connects(lab, third), await echoes(lab, third)], [false, false]);

      await site.configure({ clients: {}, ports: { all: ["22/tcp", "5353/udp"] } });
      await served.waitForLine(/withdrawn client=alice /);
      for (const guest of GUESTS[family]) assert.equal(await connects(lab, guest), false);
    });
  }

  await t.step("begins anew after its end: who was in before is a stranger", async () => {
    const [first, second] = GUESTS[4];
    await using site = await create(lab, OWN_TABLE, { knockTimeout: "3s" });
    await using served = await site.serve();
    const fromMs = performance.now() + 3000;
    await knock(lab, site, served, second.address);
    const toMs = performance.now() + 3000;
    assert.ok(await connects(lab, first));
    assert.equal(await connects(lab, second), false);
    await closesOnTime(() => connects(lab, first), { fromMs, toMs });
    await served.waitForLine(/expired client=alice address=10\.0\.0\.0\/24/);
    for (const guest of GUESTS[4]) assert.equal(await connects(lab, guest), false);
    await knock(lab, site, served, second.address);
    assert.ok(await connects(lab, second), "and somebody else may be the first");
    assert.equal(await connects(lab, first), false);
  });

  await t.step("ends in time although serve was killed right after the knock", async () => {
    const [first, second] = GUESTS[4];
    await using site = await create(lab, OWN_TABLE, { knockTimeout: "3s" });
    const served = await site.serve();
    const fromMs = performance.now() + 3000;
    await knock(lab, site, served, second.address);
    const toMs = performance.now() + 3000;
    await served.kill("SIGKILL");
    assert.ok(await connects(lab, first), "nobody is needed to let in the first");
    assert.equal(await connects(lab, second), false, "nor to keep out the second");
    await closesOnTime(() => connects(lab, first), { fromMs, toMs });
    assert.equal(await connects(lab, second), false);
  });

  await t.step("is put back after SIGKILL, and after a flush", async () => {
    const [first, second] = GUESTS[4];
    await using site = await create(lab, OWN_TABLE);
    const killed = await site.serve();
    await knock(lab, site, killed, second.address);
    assert.ok(await connects(lab, first));
    await killed.kill("SIGKILL");
    await using served = await site.serve();
    assert.ok(await connects(lab, second), "the first to connect to the new table");
    assert.equal(await connects(lab, first), false);
    await lab.nft("flush ruleset");
    await served.waitForLine(/rules_restored/, 10_000);
    assert.ok(await connects(lab, first), "and to the one after that");
    assert.equal(await connects(lab, second), false);
  });

  await t.step("is no wider after a reload that makes the table anew", async () => {
    const [first, second, third] = GUESTS[4];
    await using site = await create(lab, OWN_TABLE);
    await using served = await site.serve();
    await knock(lab, site, served, second.address);
    assert.ok(await connects(lab, first));
    await site.configure({ ports: { web: ["80/tcp"] } });
    await waitFor("the new port to close", async () => !await connects(lab, third, 80));
    assert.ok(await connects(lab, first));
    assert.deepEqual([await connects(lab, second), await connects(lab, third)], [false, false]);
    await knock(lab, site, served, second.address);
    assert.ok(await connects(lab, third));
    assert.ok(await connects(lab, first), "still in");
    assert.equal(await connects(lab, second), false);
  });

  await t.step("and grants for addresses and other sizes in it end one by one", async () => {
    const [first, second, third] = GUESTS[4];
    await using site = await create(lab, OWN_TABLE, {
      clients: { alice: ["22/tcp"], bob: ["22/tcp"], carol: ["22/tcp"] },
      clientLines: { alice: ["prefix: {v4: 24}"], carol: ["prefix: {v4: 29, v6: 127}"] },
    });
    await using served = await site.serve();
    for (const client of ["alice", "bob", "carol", "bob", "carol", "alice"]) {
      await knock(lab, site, served, third.address, client);
    }
    assert.ok(await connects(lab, third), "by the grant for this address");
    assert.ok(await connects(lab, first), "the first in alice's network");
    assert.ok(await connects(lab, second), "the first in carol's");
    const only = async (...clients: string[]) => {
      const all: Record<string, string[]> = {};
      for (const client of clients) all[client] = ["22/tcp"];
      const from = served.lines.length;
      await site.configure({ clients: all, ports: { ssh: ["22/tcp"] } });
      await served.waitForLine(/withdrawn /, LINE_MS, from);
    };
    const are = async () => {
      const found = [];
      for (const guest of [first, second, third]) found.push(await connects(lab, guest));
      return found;
    };
    await only("alice", "carol");
    assert.deepEqual(await are(), [true, true, false]);
    await only("carol");
    assert.deepEqual(await are(), [false, true, false]);
    await only();
    assert.deepEqual(await are(), [false, false, false]);
    assert.ok(!served.lines.some((line) => /change_failed|firewall_failed/.test(line)));
  });

  await t.step(
    "notes nobody where there is no room, and lets in one connection a knock",
    async () => {
      const [first, second] = GUESTS[4];
      await using site = await create(lab, OWN_TABLE);
      await using served = await site.serve();
      await fill(lab, "noted4_24", 16_384);
      await knock(lab, site, served, second.address);
      const client = await lab.agent("other");
      await speakFrom(lab, first);
      const connection = await client.hold(IPV4.server, 22);
      assert.ok(await connection.echoes());
      assert.deepEqual([await connects(lab, first), await connects(lab, second)], [false, false]);
      assert.ok(await connection.echoes(), "it lives on");
      await connection.close();
      await knock(lab, site, served, second.address);
      assert.ok(await connects(lab, second));
      assert.equal(await connects(lab, second), false);
    },
  );

  await t.step("lets nobody in where no claim can be noted, and the next knock helps", async () => {
    const [first, second] = GUESTS[4];
    await using site = await create(lab, OWN_TABLE);
    await using served = await site.serve();
    await knock(lab, site, served, second.address);
    await fill(lab, "claimed4_24", 65_536);
    for (const _ of [1, 2]) {
      assert.deepEqual([await connects(lab, first), await connects(lab, second)], [false, false]);
    }
    await knock(lab, site, served, second.address);
    assert.ok(await connects(lab, first));
    assert.equal(await connects(lab, second), false);
  });

  await t.step("is told by the health port, and closed by any address in it", async () => {
    const [first, second] = GUESTS[4];
    await using site = await create(lab, OWN_TABLE);
    await using served = await site.serve();
    for (const whom of [first.address, "10.0.0.0/24", "alice"]) {
      await knock(lab, site, served, second.address);
      assert.ok(await connects(lab, first));
      const script =
        `console.log(await (await fetch("http://${IPV4.server}:${KNOCK_PORT}/")).text())`;
      // The process that answers starts with the grant.
      const told = await waitFor("an answer", async () => {
        const { code, stdout } = await lab.output(first.side, [Deno.execPath(), "eval", script]);
        return code === 0 ? stdout : "";
      }, { timeoutMs: 15_000 });
      const { address, grants } = JSON.parse(told);
      assert.deepEqual([address, grants.length, grants[0].client], [first.address, 1, "alice"]);
      assert.equal(await connects(lab, second, KNOCK_PORT), false);
      const doctor = await openme(lab, "server", ["doctor", "--config", site.config]);
      assert.match(doctor.stdout, /^ok {4}rules .*nft: all in place/m);
      const { code, stdout, stderr } = await openme(lab, "server", [
        ...["close", whom, "--config", site.config],
      ]);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^closed .* for alice at 10\.0\.0\.0\/24\n$/);
      assert.equal(await connects(lab, first), false);
    }
  });

  await t.step("comes and goes with the configuration", async () => {
    const [first, second] = GUESTS[4];
    await using site = await create(lab, OWN_TABLE);
    await using served = await site.serve();
    await knock(lab, site, served, second.address);
    assert.ok(await connects(lab, first));
    await site.configure({ clientLines: { alice: ["prefix: {v4: 28}"] } });
    await served.waitForLine(/withdrawn client=alice address=10\.0\.0\.0\/24 /);
    await served.waitForLine(/reloaded/); // the next wait must not take it for its own
    assert.deepEqual([await connects(lab, first), await connects(lab, second)], [false, false]);
    assert.match(await knock(lab, site, served, second.address), /address=10\.0\.0\.0\/28 /);
    assert.ok(await connects(lab, first));
    // What is narrower than allowed goes on.
    const from = served.lines.length;
    await site.configure({ clientLines: { alice: ["prefix: {v4: 20}"] } });
    await served.waitForLine(/reloaded/, LINE_MS, from);
    assert.ok(await connects(lab, first));
    await site.configure({ clientLines: {} });
    await served.waitForLine(/withdrawn client=alice address=10\.0\.0\.0\/28 /);
    await waitFor("the sets to go", async () => !(await lab.ruleset()).includes("prefix4"));
    assert.match(await knock(lab, site, served, second.address), /address=10\.0\.0\.2 /);
    assert.ok(await connects(lab, second));
    assert.equal(await connects(lab, first), false);
  });
});

/** Puts so many addresses into a set, none of them in the lab's network. */
async function fill(lab: Lab, set: string, count: number): Promise<void> {
  const elements = Array.from(
    { length: count },
    (_, i) => `172.${16 + (i >> 16)}.${i >> 8 & 255}.${i & 255}`,
  );
  const { length } = elements;
  // In a user namespace nft cannot enlarge its socket's buffer, which holds some 3,000.
  for (let from = 0; from < length; from += 2048) {
    const part = elements.slice(from, from + 2048).join(", ");
    await lab.nft(`add element inet openme ${set} { ${part} }`);
  }
}
