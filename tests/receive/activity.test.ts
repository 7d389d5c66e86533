/** What is learnt of the firewall's traffic: `lib/receive/activity.ts`. */

import assert from "node:assert/strict";
import { Grants } from "../../lib/grants.ts";
import { learnActivity } from "../../lib/receive/activity.ts";
import { openAt } from "../../lib/values/extended.ts";
import type { Network } from "../../lib/values/network.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { moment, must, permission, SOURCE, START_MS } from "../support/knocks.ts";
import { capsFrom } from "../../lib/config/extend.ts";
import { ranges } from "../firewall/support.ts";

/** A grant to 22/tcp and 80/tcp at 0 for 30 s, of which 22/tcp may stay open for two minutes. */
function setUp() {
  const grants = new Grants();
  const caps = capsFrom([{ ports: ranges("22/tcp"), mostMs: 120_000 }], moment(0));
  grants.open(SOURCE, permission("alice", ["22/tcp", "80/tcp"], { caps }), moment(0));
  grants.open(SOURCE, permission("bob", ["22/tcp"], { lifetimeMs: 500_000 }), moment(0));
  const asked: number[] = [];
  const recorded: number[] = [];
  /** At a moment the firewall says that the address is active for so long. */
  const learn = async (ms: number, leftMs: number | undefined) => {
    await learnActivity({
      grants,
      store: {
        recordGrant: (grant) => recorded.push(must(grant.extended).activeUntilMs - START_MS),
      },
      backend: {
        activity: (networks: readonly Network[]) => {
          asked.push(ms);
          assert.equal(networks.length, 1);
          return Promise.resolve(new Map(leftMs === undefined ? [] : [["198.51.100.20", leftMs]]));
        },
      },
      clock: { now: () => moment(ms), bootId: undefined },
      activeMs: 30_000,
    });
  };
  const open = (ms: number) => {
    const alice = must([...grants.list()].find(({ client }) => client === "alice"));
    const { ports, expiresAtMs } = openAt(alice, START_MS + ms);
    return [ports.map(formatPortRange).join(" "), expiresAtMs - START_MS];
  };
  return { grants, asked, recorded, learn, open };
}

Deno.test("the firewall is asked only where what is known ends soon", async () => {
  const { asked, learn } = setUp();
  await learn(0, 30_000);
  await learn(15_000, 30_000);
  assert.deepEqual(asked, []);
  await learn(15_001, 30_000);
  await learn(20_000, 30_000);
  assert.deepEqual(asked, [15_001]);
});

Deno.test("what traffic keeps open is known, never beyond the cap, and only where it was extended", async () => {
  const { grants, recorded, learn, open } = setUp();
  assert.deepEqual(open(0), ["22/tcp 80/tcp", 30_000]);
  await learn(16_000, 29_000);
  assert.deepEqual(open(16_000), ["22/tcp 80/tcp", 45_000]);
  assert.deepEqual(open(31_000), ["22/tcp", 45_000]);
  await learn(50_000, undefined);
  assert.deepEqual(open(50_000), ["22/tcp", 45_000], "idle: in the past");
  await learn(110_000, 29_000);
  assert.deepEqual(open(110_000), ["22/tcp", 120_000]);
  assert.deepEqual(recorded, [45_000, 120_000]);
  assert.deepEqual(grants.takeExpired(moment(119_999)), []);
  assert.deepEqual(grants.takeExpired(moment(120_000)).map(({ client }) => client), ["alice"]);
});
