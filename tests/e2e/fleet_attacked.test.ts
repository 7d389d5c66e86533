/** An engine in an attacker's hands: the test writes to it as it likes, and has watched every knock. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { RedisServer } from "./fleet_engine.ts";
import { FleetHosts, type Host, HOSTS } from "./fleet_hosts.ts";
import { FLEET_SIDES, IPV4 } from "./lab.ts";
import { memoryOf } from "./processes.ts";
import { lacks } from "../support/programs.ts";
import { waitFor } from "../support/wait.ts";

const needs = lacks("redis-server", "redis-cli");
/** Entries of junk; with OPENME_FLEET_JUNK another number. */
const JUNK = Number(Deno.env.get("OPENME_FLEET_JUNK") ?? 100_000);
/** What a host may hold more after it. */
const MOST_MORE_MB = 40;

e2e("an engine in strange hands", async (lab, t) => {
  await using engine = new RedisServer(lab, "swordfish");
  await engine.start();
  await using fleet = await FleetHosts.create(lab, { url: engine.url(), knockTimeout: "10m" });
  const { other } = fleet;
  await fleet.serve();

  const first = fleet.fresh();
  const firstKnock = await fleet.seal(first);
  await fleet.send(firstKnock, "server");
  await fleet.opens(first);
  await fleet.assertOnce(first, IPV4.client);
  const [stream] = await engine.keys("stream") as [string];
  const [id, field, entry] = await engine.command("XREVRANGE", stream, "+", "-", "COUNT", "1");
  assert.ok(id && field && entry);
  /** Every time that anyone was let in, at any host. */
  const openings = () =>
    HOSTS.flatMap((host) =>
      fleet.lines(host).filter((line) => / event=(granted|renewed) /.test(line))
    );
  /** Knocks at one host, and at the others hears of it. */
  const opensEverywhere = async (host: Host) => {
    const fresh = fleet.fresh();
    await fleet.send(await fleet.seal(fresh), host);
    await fleet.opens(fresh);
    await fleet.assertOnce(fresh, IPV4.client);
  };
  /** Knocks at one host until all open. */
  const hearAgain = (host: Host) =>
    waitFor("hosts to hear of each other again", async () => {
      const fresh = fleet.fresh();
      await fleet.send(await fleet.seal(fresh), host);
      await fleet.opens(fresh, [host]);
      return (await fleet.openAt(fresh)).length === HOSTS.length;
    }, { timeoutMs: 20_000 });
  /** Knocks at one host, which opens at least that one. */
  const opensThere = async (host: Host) => {
    const fresh = fleet.fresh();
    await fleet.send(await fleet.seal(fresh), host);
    await fleet.opens(fresh, [host]);
  };

  await t.step("entries written again, and again with other bytes, open nothing", async () => {
    const before = openings().length;
    const entries = (await engine.command("XRANGE", stream, "-", "+"))
      .filter((line) => line.length > 100);
    const flipped = Array.from(entry, (_, i) => {
      const other = entry[i] === "A" ? "B" : "A";
      return entry.slice(0, i) + other + entry.slice(i + 1);
    });
    await engine.commands(
      [...entries, ...flipped, ...entries].map((each) => `XADD ${stream} * ${field} ${each}`),
    );
    await opensEverywhere("second");
    assert.equal(openings().length, before + HOSTS.length);
  });

  await t.step("claims of others, and none for what was used", async () => {
    const before = openings().length;
    const names = await engine.keys("string");
    const [claim] = names;
    assert.ok(claim);
    await engine.command("DEL", ...names);
    for (const host of HOSTS) await fleet.send(firstKnock, host, other);
    await waitFor(
      "the refusals",
      () => HOSTS.every((host) => fleet.lines(host).some((line) => /reason=replay/.test(line))),
    );
    assert.equal(openings().length, before);
    assert.deepEqual(await fleet.openAt(first, other), []);
    await opensEverywhere("third");
  });

  await t.step(`${JUNK} entries of junk: hosts go on, and hold no more`, async () => {
    const memoryMb = () => Promise.all(HOSTS.map((host) => memoryOf(lab, host)));
    const before = await memoryMb();
    const shapes = [
      "junk",
      "A".repeat(entry.length),
      entry.slice(1),
      "x".repeat(20_000),
      "knock",
    ];
    const lines = Array.from({ length: JUNK }, (_, i) => {
      // One in a thousand is long: the engine, too, is to have room for them.
      const shape = shapes[i % 1000 === 0 ? 3 : i % 5 === 3 ? 0 : i % 5]!;
      return `XADD ${stream} * ${field} ${shape}`;
    });
    const flooding = engine.commands(lines);
    let hasEnded = false;
    flooding.then(() => hasEnded = true, () => hasEnded = true);
    let knocks = 0;
    while (!hasEnded && knocks < 10) {
      await opensThere(HOSTS[knocks++ % HOSTS.length]!);
    }
    await flooding;
    await opensThere("server");
    const after = await waitFor("the memory to be as before", async () => {
      const now = await memoryMb();
      return now.every((mb, i) => mb - before[i]! < MOST_MORE_MB) ? now : undefined;
    }, { timeoutMs: 20_000, everyMs: 500 });
    assert.equal(after.length, HOSTS.length);
    await hearAgain("server");
    for (const host of HOSTS) {
      const junk = fleet.lines(host).filter((line) => line.includes("event=fleet_junk"));
      assert.ok(junk.length >= 1 && junk.length <= 3, `${host}: ${junk.length} lines`);
    }
  });

  await t.step(
    "a stream that is deleted, of another type, or at the end of its numbers",
    async () => {
      await engine.command("DEL", stream);
      await opensEverywhere("server");
      await engine.command("SET", stream, "text");
      await opensThere("second");
      await engine.command("DEL", stream);
      await hearAgain("second");
      await engine.command("XADD", stream, "18446744073709551615-18446744073709551615", field, "x");
      await opensThere("third");
      await engine.command("DEL", stream);
      await hearAgain("third");
    },
  );

  for (const host of HOSTS) {
    for (const line of openings()) assert.match(line, / address=10\.0\.0\.2 /, host);
  }
  await fleet.stop();
}, { needs, sides: FLEET_SIDES });
