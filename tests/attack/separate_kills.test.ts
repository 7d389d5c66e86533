/**
 * SIGKILL of the keeper or of the taker at random moments under knocks, each followed by a start, as the unit would.
 * OPENME_TEST_KILLS=200 makes it 200 times in all; docs/threat-model.md cites this.
 */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4, Lab } from "../e2e/lab.ts";
import type { Served } from "../e2e/openme.ts";
import { oneProcess, takerOf } from "../e2e/processes.ts";
import { Site } from "../e2e/site.ts";
import { isAlive } from "../support/spawned.ts";
import { pause, waitFor } from "../support/wait.ts";
import { Random } from "./random.ts";
import { taggedKnock } from "./siege.ts";
import { LetInWatch, type Stay } from "./watch_let_in.ts";

const KILLS = Number(Deno.env.get("OPENME_TEST_KILLS") ?? 24);
const SEED = Number(Deno.env.get("OPENME_TEST_SEED") ?? Date.now() % 1_000_000);
const LIFETIME_MS = 3000;
/** Within which a process has ended after the other. */
const ENDS_MS = 1000;
/** What a watch that looks ten times a second, on a busy machine, may see too much of a stay. */
const SEEN_LATE_MS = 1000;
/** A kill comes up to so long after the server listens. */
const LATEST_KILL_MS = 400;
const NAMES = ["alice", "bob", "carol"];

e2e(`keeper or taker killed at any moment, ${KILLS} times, seed ${SEED}`, async (lab) => {
  await using second = await Lab.create();
  const half = Math.ceil(KILLS / 2);
  await Promise.all([
    killOften(lab, half, new Random(SEED)),
    killOften(second, half, new Random(SEED + 1)),
  ]);
}, { needs: oneProcess });

async function killOften(lab: Lab, kills: number, random: Random): Promise<void> {
  const { client, other } = await lab.agents("client", "other");
  await using site = await Site.create(lab, {
    clients: Object.fromEntries(NAMES.map((name) => [name, ["22/tcp"]])),
    knockTimeout: `${LIFETIME_MS / 1000}s`,
    server: ["separate: auto"],
  });
  await using watch = new LetInWatch(lab);
  /** Knocks by the address that each is to let in, once. */
  const sent = new Map<string, Uint8Array>();
  const granted: string[] = [];
  let goesOn = true;
  const knocking = (async () => {
    while (goesOn) {
      const n = sent.size;
      const target = `10.9.${n >> 8}.${n & 255}`;
      const knock = await taggedKnock(site, NAMES[n % NAMES.length]!, target);
      sent.set(target, knock);
      await client.send(knock, IPV4.server, KNOCK_PORT);
      // Somebody has watched, and sends it again.
      const old = [...sent.values()].at(-1 - random.below(Math.min(sent.size, 40)))!;
      await client.send(old, IPV4.server, KNOCK_PORT);
      await pause(random.below(60));
    }
  })();
  let killed = { keepers: 0, takers: 0 };
  for (let i = 0; i < kills; i++) {
    await using served = await site.serve();
    const taker = await takerOf(lab, served);
    await served.waitForLine(/event=granted/);
    await pause(random.below(LATEST_KILL_MS));
    const isKeepers = i % 2 === 0;
    Deno.kill(isKeepers ? served.pid : taker, "SIGKILL");
    await waitFor("the other process to end", () => !isAlive(isKeepers ? taker : served.pid), {
      timeoutMs: ENDS_MS,
      everyMs: 20,
    });
    const { code } = await served.status;
    assert.equal(code, isKeepers ? 137 : 1);
    killed = isKeepers
      ? { ...killed, keepers: killed.keepers + 1 }
      : { ...killed, takers: killed.takers + 1 };
    if (i % 4 === 0) assert.ok(!await other.reaches(IPV4.server, 22, 200), "open to a stranger");
    granted.push(...grantedBy(served));
  }
  goesOn = false;
  await knocking;

  await using served = await site.serve();
  // Not one client is lost, and no knock of before is new.
  for (const name of NAMES) {
    const target = `10.8.0.${NAMES.indexOf(name)}`;
    const knock = await taggedKnock(site, name, target);
    sent.set(target, knock);
    await client.send(knock, IPV4.server, KNOCK_PORT);
    await served.waitForLine(new RegExp(`event=granted client=${name} address=${target} `));
  }
  for (const knock of [...sent.values()].slice(-300)) {
    await client.send(knock, IPV4.server, KNOCK_PORT);
  }
  await waitFor("all grants to end", () => watch.isEmpty, { timeoutMs: 3 * LIFETIME_MS });
  granted.push(...grantedBy(served));
  assert.equal(new Set(granted).size, granted.length, "granted twice");
  assert.ok(granted.length > 3 * kills);
  for (const target of granted) assert.ok(watch.stays.has(target), `${target} was never let in`);
  for (const [target, stays] of watch.stays) {
    assert.equal(stays.length, 1, `${target} was let in ${stays.length} times`);
    const [{ fromMs, toMs }] = stays as [Stay];
    assert.ok(toMs - fromMs < LIFETIME_MS + SEEN_LATE_MS, `${target}: ${toMs - fromMs} ms`);
  }
  await served.stop();
  const line = `keepers killed: ${killed.keepers}, takers: ${killed.takers}, ` +
    `knocks: ${sent.size}, granted: ${granted.length}\n`;
  if (Deno.env.get("OPENME_TEST_KILLS")) Deno.stderr.writeSync(new TextEncoder().encode(line));
}

/** The addresses that its log says were let in. */
function grantedBy({ lines }: Served): string[] {
  return lines.flatMap((line) => /event=granted .*address=(\S+)/.exec(line)?.[1] ?? []);
}
