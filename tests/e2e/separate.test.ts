/** `serve` as two processes: what the one that strangers reach can do, and where there is only one. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { hide } from "./hidden_program.ts";
import { IPV4, type Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { waitFor, within } from "../support/wait.ts";
import { Served } from "./openme.ts";
import {
  assertNoRights,
  knockSocketOwner,
  networkSocketsOf,
  oneProcess,
  takerOf,
} from "./processes.ts";
import { Site } from "./site.ts";
import { LINE_MS } from "../support/spawned.ts";

const DEBUG = ["--log-level", "debug"];
const AUTO = { server: ["separate: auto"] };
const OFF = { server: ["separate: off"] };
const CLIENTS = { alice: ["22/tcp"], bob: ["80/tcp"] };

/** Starts `serve` behind a command that changes what it may or what it finds. */
async function serveBehind(lab: Lab, { config }: Site, command: readonly string[]) {
  const served = new Served(
    lab.start("server", [...command, ...OPENME, "serve", "--config", config]),
  );
  await served.waitForLine(/event=listening/, 20_000);
  return served;
}

e2e("a server of two processes", async (lab, t) => {
  const client = await lab.agent("client");
  await using site = await Site.create(lab, {
    clients: CLIENTS,
    ...AUTO,
    env: { DENO_NO_UPDATE_CHECK: "1" }, // Deno's own question, where openme runs from source
  });
  /** Without a tag and a hint, as other programs do. */
  const send = async (name: string) =>
    await client.send(await site.seal(name), IPV4.server, KNOCK_PORT);
  /** The taker hears of a reload a moment after it is logged. */
  const isLetIn = async (served: Served, name: string) => {
    const from = served.lines.length;
    await waitFor(`${name} to be let in`, async () => {
      await send(name);
      return served.lines.slice(from).some((line) => line.includes(`granted client=${name} `));
    }, { everyMs: 100 });
  };

  await t.step("no thread of the one that has the knock port has a right", async () => {
    await using served = await site.serve();
    const taker = await takerOf(lab, served);
    assertNoRights(taker);
    await served.stop();
  });
  await t.step("the other has no socket of a network, also while somebody is let in", async () => {
    await using served = await site.serve();
    await takerOf(lab, served);
    await send("alice");
    await served.waitForLine(/event=granted client=alice/);
    assert.deepEqual(await networkSocketsOf(lab, served.pid), []);
    await served.stop();
  });
  await t.step("clients that a reload adds are let in, those that it removes are not", async () => {
    await using served = await site.serve(DEBUG);
    const reload = async (clients: Record<string, readonly string[]>) => {
      const from = served.lines.length;
      await site.configure({ clients });
      await served.waitForLine(/event=reloaded/, LINE_MS, from);
    };
    const isDropped = async (name: string) => {
      const from = served.lines.length;
      await send(name);
      await served.waitForLine(/event=dropped reason=signature source=10\.0\.0\.2/, LINE_MS, from);
    };
    await reload({ bob: ["80/tcp"], carol: ["22/tcp"] });
    await isLetIn(served, "carol");
    await isDropped("alice");
    await site.knock("bob");
    await served.waitForLine(/event=granted client=bob /);
    await reload(CLIENTS);
    await isLetIn(served, "alice");
    await isDropped("carol");
    await served.stop();
  });
}, { needs: oneProcess });

e2e("drops are told alike by one process and by two", async (lab) => {
  const client = await lab.agent("client");
  await using site = await Site.create(lab, { clients: CLIENTS });
  const junk = () => {
    const datagram = crypto.getRandomValues(new Uint8Array(165));
    datagram[0] = 1;
    return datagram;
  };
  const told = async (server: readonly string[]) => {
    await site.configure({ server });
    await using served = await site.serve(DEBUG);
    await client.send(await site.sealAsStranger(), IPV4.server, KNOCK_PORT);
    for (let i = 0; i < 40; i++) await client.send(junk(), IPV4.server, KNOCK_PORT);
    const lines = () =>
      served.lines.filter((line) => line.includes("event=dropped"))
        .map((line) => line.replace(/.*event=/, ""));
    // A summary has all drops of its second, also those that had a line of their own.
    const inSummaries = () =>
      served.lines.flatMap((line) => /event=drops .*decrypt=(\d+)/.exec(line)?.[1] ?? [])
        .reduce((sum, each) => sum + Number(each), 0);
    await waitFor("all to be told", () => {
      const alone = lines().length;
      return alone >= 20 && inSummaries() + alone >= 40;
    });
    const kinds = [...new Set(lines())].sort();
    await served.stop();
    return kinds;
  };
  const one = await told(OFF.server);
  assert.deepEqual(one, [
    `dropped reason=decrypt source=${IPV4.client}`,
    `dropped reason=signature source=${IPV4.client}`,
  ]);
  assert.deepEqual(await told(AUTO.server), one);
});

e2e("a taken knock port is an error that names it", async (lab) => {
  await using site = await Site.create(lab, { clients: CLIENTS });
  const server = await lab.agent("server");
  await server.listen({ udp: [KNOCK_PORT] });
  for (const { server } of [AUTO, OFF]) {
    await site.configure({ server });
    await using served = site.startServe();
    const status = await within(served.status, 20_000, undefined);
    assert.equal(status?.code, 1);
    await served.waitForLine(new RegExp(`^openme: error: .*${KNOCK_PORT}`));
    await served.waitForLine(/^openme: hint: /);
    assert.equal(await lab.ruleset(), "");
  }
}, { silentServer: false });

e2e("one process", async (lab, t) => {
  await using site = await Site.create(lab, { clients: CLIENTS, ...OFF });
  const isOne = async (served: Served) => {
    await site.knock("alice");
    await served.waitForLine(/event=(granted|renewed) client=alice/);
    assert.equal(await knockSocketOwner(lab), served.pid);
    await served.stop();
  };
  await t.step("with separate: off", async () => {
    await using served = await site.serve();
    assert.equal(count(served, /not_separated/), 0);
    await isOne(served);
  });
  await site.configure(AUTO);
  await t.step("where setpriv is missing, which the log says", async () => {
    const setpriv = (await lab.run("server", ["sh", "-c", 'realpath "$(command -v setpriv)"']))
      .trim();
    await using served = await serveBehind(lab, site, hide(setpriv));
    await served.waitForLine(/event=not_separated why=".*setpriv.*util-linux/);
    await isOne(served);
  });
  await t.step("where root may not become another user, which the log says", async () => {
    await using served = await serveBehind(lab, site, ["setpriv", "--bounding-set=-setuid"]);
    await served.waitForLine(/event=not_separated why=\S/);
    await isOne(served);
  });
}, { needs: oneProcess });

function count({ lines }: Served, pattern: RegExp): number {
  return lines.filter((line) => pattern.test(line)).length;
}
