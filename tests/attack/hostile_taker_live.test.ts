/** A real server whose taker is a program that invents knocks as fast as it can: docs/threat-model.md cites this. */

import assert from "node:assert/strict";
import { GRANT_CAPS } from "../../lib/grants.ts";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import type { Lab } from "../e2e/lab.ts";
import { noStandIn, serveWithStandIn, statusOf } from "../e2e/processes.ts";
import { Site } from "../e2e/site.ts";
import { pause, waitFor, within } from "../support/wait.ts";

/** Clients whose keys the hostile process has, beside two of whom it lets each in once. */
const CLIENTS = Number(Deno.env.get("OPENME_TEST_CLIENTS") ?? 40);
const FLOOD_S = Number(Deno.env.get("OPENME_TEST_SECONDS") ?? 15);
const LIFETIME_S = 5;
/** MB that the keeper may grow by while it reads all that. */
const GROWS_MB = 100;

e2e(
  "a taker that invents knocks as fast as it can: the keeper neither crashes nor grows",
  async (lab) => {
    const names = ["alice", "bob", ...Array.from({ length: CLIENTS }, (_, i) => `client${i}`)];
    await using site = await Site.create(lab, {
      clients: Object.fromEntries(names.map((name) => [name, ["22/tcp"]])),
      knockTimeout: `${LIFETIME_S}s`,
      server: ["separate: auto"],
    });
    const startMs = performance.now();
    await using served = await serveWithStandIn(lab, site, "floods");
    await served.waitForLine(/event=granted client=bob address=192\.0\.2\.1/);
    const megabytes = () => parseInt(statusOf(served.pid)["VmRSS"]!) / 1024;
    await pause(3000);
    const before = megabytes();
    const beforeS = processorSeconds(served.pid);
    const fromMs = performance.now();
    const answersMs: number[] = [];
    const sizes: number[] = [];
    while (performance.now() - startMs < FLOOD_S * 1000) {
      const askedMs = performance.now();
      assert.ok(await within(answers(site), 5000, false), "the control socket is silent");
      answersMs.push(performance.now() - askedMs);
      sizes.push((await openings(lab)).length);
      await pause(200);
    }
    const grown = megabytes() - before;
    const busy = (processorSeconds(served.pid) - beforeS) / (performance.now() - fromMs) * 1000;
    const atOnce = Math.max(...sizes);
    const slowestMs = Math.max(...answersMs);
    const text = `${grown.toFixed(0)} MB more, ${
      busy.toFixed(2)
    } of a processor, ${atOnce} openings, an answer took ${slowestMs.toFixed(0)} ms at most, ${
      answersMs.toSorted((a, b) => a - b)[answersMs.length >> 1]!.toFixed(0)
    } ms mostly`;
    if (Deno.env.get("OPENME_TEST_CLIENTS")) {
      Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
    }
    assert.ok(grown < GROWS_MB, text);
    assert.ok(slowestMs < 1000, text);
    // Every element is a port that clients may have, for no longer than a knock opens it.
    for (const { address, port, leftS } of await openings(lab)) {
      assert.ok(port === 22 || port === KNOCK_PORT, `${address} ${port}`);
      assert.ok(leftS <= LIFETIME_S);
      assert.notEqual(address, "192.0.2.1", "what was let in once has ended");
    }
    assert.ok(atOnce <= 2 * names.length * GRANT_CAPS.perClient);
    const seconds = (performance.now() - startMs) / 1000;
    assert.ok(served.lines.length < 100 * seconds, `${served.lines.length} lines`);
    const misbehaves = served.lines.filter((line) => line.includes("event=taker_misbehaves"));
    assert.equal(misbehaves.length, 1);
    const size = (await Deno.stat(`${site.stateDir}/state.db`)).size / 2 ** 20;
    assert.ok(size < 64, `${size} MB on disk`);
    const stopMs = performance.now();
    await served.stop();
    assert.ok(performance.now() - stopMs < 5000);
    assert.equal(await lab.ruleset(), "");
  },
  { needs: noStandIn, silentServer: false },
);

e2e("what a hostile taker let in ends in time, also where the keeper is killed", async (lab) => {
  await using site = await Site.create(lab, {
    clients: Object.fromEntries(["alice", "bob", "carol"].map((name) => [name, ["22/tcp"]])),
    knockTimeout: `${LIFETIME_S}s`,
    server: ["separate: auto"],
  });
  await using served = await serveWithStandIn(lab, site, "floods");
  await waitFor("the flood", async () => (await openings(lab)).length > 100);
  await served.kill("SIGKILL");
  await pause((LIFETIME_S + 0.5) * 1000);
  assert.deepEqual(await openings(lab), []);
}, { needs: noStandIn, silentServer: false });

/** What a process has used of all processors so far. */
function processorSeconds(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Whether the server answers at its control socket. */
async function answers(site: Site): Promise<boolean> {
  using connection = await Deno.connect({
    transport: "unix",
    path: `${site.stateDir}/control.sock`,
  });
  await connection.write(new TextEncoder().encode('{"command":"status"}\n'));
  const size = await connection.read(new Uint8Array(1000));
  return size !== null && size > 0;
}

interface Element {
  readonly address: string;
  readonly port: number;
  readonly leftS: number;
}

/** What the kernel lets in now. */
async function openings(lab: Lab): Promise<Element[]> {
  const listing = await lab.run("server", ["nft", "list", "table", "inet", "openme"]);
  return Array.from(
    listing.matchAll(/([\da-f.:]+) \. tcp \. (\d+) timeout \S+ expires (?:(\d+)s)?/g),
    ([, address, port, leftS]) => ({
      address: address!,
      port: Number(port),
      leftS: Number(leftS ?? 0),
    }),
  );
}
