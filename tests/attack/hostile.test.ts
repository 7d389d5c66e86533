/** Hostile datagrams over the wire: each is dropped for its reason, by the kernel or by the server. */

import assert from "node:assert/strict";
import { bytesToHex, stampWindowOf } from "../../lib/crypto/keys.ts";
import { knockStamps, knockTags } from "../../lib/crypto/sync.ts";
import { bearsTag, PACKET_SIZE, stampOf, VERSION } from "../../lib/packet.ts";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4 } from "../e2e/lab.ts";
import { Site } from "../e2e/site.ts";
import { waitFor } from "../support/wait.ts";
import { tallyDrops } from "./drop_tally.ts";
import { CLASSES, type Hostile, type World } from "./hostile.ts";
import { Random } from "./random.ts";
import { kernelDrops, letIn, taggedKnock } from "./siege.ts";

/** So many of a class, or all of them where there are fewer; the largest and the smallest always. */
async function sampleOf(all: AsyncIterable<Hostile>, count: number, random: Random) {
  const sample: Hostile[] = [];
  let seen = 0;
  let largest: Hostile | undefined;
  for await (const each of all) {
    if (each.datagram.length >= (largest?.datagram.length ?? 0)) largest = each;
    seen++;
    const place = seen <= count ? sample.length : random.below(seen);
    if (place < count) sample[place] = each;
  }
  if (largest && !sample.includes(largest)) sample.push(largest);
  return sample;
}

e2e("hostile datagrams over the wire", async (lab, t) => {
  const hour = 3_600_000_000_000n;
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: ["22/tcp"], expired: ["22/tcp"] },
    clientLines: { expired: ['expires: "2020-01-01"'] },
    knockTimeout: "1m",
    server: ["replay_window: 1h"], // what is hostile for another reason is not to be stale by and by
  });
  await using served = await site.serve(["--log-level", "debug"]);
  const client = await lab.agent("client");
  const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
  const random = new Random(seed);
  const world: World = {
    serverPublicKey: site.keysOf("alice").serverPublicKey,
    alice: site.keysOf("alice").clientSeed,
    bob: site.keysOf("bob").clientSeed,
    expired: site.keysOf("expired").clientSeed,
    nowNs: BigInt(Date.now()) * 1_000_000n,
    windowNs: hour,
  };
  const tags = knockTags(world.serverPublicKey);
  const stamp = knockStamps(world.serverPublicKey)(stampWindowOf(Number(world.nowNs) / 1e9));
  /** With a stamp of now and a wrong tag nothing else of a datagram is looked at. */
  const isForged = (datagram: Uint8Array) =>
    datagram.length === PACKET_SIZE && datagram[0] === VERSION &&
    bytesToHex(stampOf(datagram)) === bytesToHex(stamp) && !bearsTag(datagram, tags);
  /** What the server says of all that it has dropped, and the kernel's counters. */
  const dropsSoFar = async () => {
    const tally = tallyDrops(served.lines);
    for (const [reason, count] of Object.entries(await kernelDrops(lab))) {
      tally.set(reason, (tally.get(reason) ?? 0) + count);
    }
    return tally;
  };
  let total = 0;
  for (const [name, make] of Object.entries(CLASSES)) {
    await t.step(`${name}, seed ${seed}: dropped for the right reasons`, async (t) => {
      const sample = (await sampleOf(make(random, world), 320, random))
        // A nanosecond too far ahead now is right a moment later.
        .filter(({ why }) => why !== `dated ${world.nowNs + hour + 1n}`)
        .filter(({ why }) => why !== `dated ${world.nowNs + hour + 1_000_000n}`)
        .map((each) => isForged(each.datagram) ? { ...each, expected: "tag" } : each);
      const expected = countsOf(sample);
      const before = await dropsSoFar();
      for (const { datagram } of sample) await client.send(datagram, IPV4.server, KNOCK_PORT);
      const dropped = async () => {
        const now = await dropsSoFar();
        return new Map(
          [...now].map(([reason, count]) => [reason, count - (before.get(reason) ?? 0)] as const)
            .filter(([, count]) => count > 0),
        );
      };
      await waitFor(`${sample.length} to be dropped`, async () => {
        const sum = [...(await dropped()).values()].reduce((a, b) => a + b, 0);
        return sum >= sample.length;
      });
      const found = await dropped();
      // Under a key that is used again and again only so many are judged: those in excess are any of the others.
      const overload = found.get("overload") ?? 0;
      found.delete("overload");
      const missing = [...expected].map(([reason, count]) => count - (found.get(reason) ?? 0));
      assert.ok(missing.every((each) => each >= 0), show(found) + " of " + show(expected));
      assert.equal(missing.reduce((a, b) => a + b, 0), overload, show(found));
      assert.ok([...found.keys()].every((reason) => expected.has(reason)), show(found));
      if (overload > 0) assert.ok(COPIED.includes(name), `${overload} were not judged`);
      total += sample.length;
      await t.step(show(found) + (overload ? `, overload ${overload}` : ""), () => {});
    });
  }
  await t.step("nobody was let in", async () => {
    assert.ok(total > 1600, `${total} were sent`);
    assert.equal((await letIn(lab)).size, 0);
    assert.ok(!served.lines.some((line) => /event=(granted|renewed)/.test(line)));
  });
  await t.step("the next good knock is accepted", async () => {
    await client.send(await taggedKnock(site, "alice"), IPV4.server, KNOCK_PORT);
    await waitFor("the client to be let in", async () => (await letIn(lab)).has(IPV4.client));
  });
  await served.stop();
});

/** Classes made of one knock, or few, under whose ephemeral key only so many copies a second are judged. */
const COPIED = ["one byte changed", "bytes changed", "splices", "signatures"];

function countsOf(sample: readonly Hostile[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { expected } of sample) counts.set(expected, (counts.get(expected) ?? 0) + 1);
  return counts;
}

function show(counts: ReadonlyMap<string, number>): string {
  return [...counts].sort().map(([reason, count]) => `${reason} ${count}`).join(", ");
}
