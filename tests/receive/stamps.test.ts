/** Which stamps count at a time, and when the firewall has to be told of others. */

import assert from "node:assert/strict";
import { hexToBytes } from "../../lib/crypto/keys.ts";
import { knockStamps, publicKeyOf } from "../../lib/crypto/sync.ts";
import type { ServerConfig } from "../../lib/config/server.ts";
import type { Moment } from "../../lib/values/moment.ts";
import { CurrentStamps } from "../../lib/receive/stamps.ts";
import {
  ALICE,
  ALICE_PROFILE,
  filled,
  freshKnock,
  knockBy,
  SERVER_PRIVATE_KEY,
  SERVER_PUBLIC_KEY,
  START_MS,
} from "../support/knocks.ts";

const OLD_KEY = hexToBytes("77".repeat(32));

/** A server with a window of 60 s, and a clock that the test moves: the wall clock and the steady one. */
function server(previousPrivateKey?: typeof OLD_KEY) {
  const config = {
    publicKey: SERVER_PUBLIC_KEY,
    privateKey: SERVER_PRIVATE_KEY,
    previousPrivateKey,
    replayWindowMs: 60_000,
  } as ServerConfig;
  let [wallMs, steadyMs] = [START_MS, 5000];
  const now = (): Moment => ({ wallNs: BigInt(wallMs) * 1_000_000n, steadyMs });
  return {
    stamps: new CurrentStamps(config, now()),
    config,
    now,
    pass: (ms: number) => {
      wallMs += ms;
      steadyMs += ms;
    },
    setClock: (ms: number) => void (wallMs += ms),
  };
}

function wordAt(ms: number, publicKey = SERVER_PUBLIC_KEY): number {
  const stamp = knockStamps(publicKey)(Math.floor(ms / 32_000));
  return new DataView(stamp.buffer, stamp.byteOffset).getUint32(0);
}

Deno.test("every stamp of a knock that may be accepted until the next renewal is in the list, for as long as it is good", () => {
  const { stamps, now, pass } = server();
  const list = stamps.list(now());
  for (let atMs = START_MS; atMs <= START_MS + 160_000; atMs += 1000) {
    for (const offMs of [-60_000, -31_000, 0, 31_000, 60_000]) {
      const found = list.find(({ word }) => word === wordAt(atMs + offMs));
      assert.ok(found && found.timeoutMs >= atMs - START_MS, `${atMs - START_MS} ${offMs}`);
    }
  }
  assert.equal(stamps.isDue(now()), false);
  pass(159_000);
  assert.equal(stamps.isDue(now()), false);
  pass(1000);
  assert.equal(stamps.isDue(now()), true);
  stamps.renew(now());
  assert.equal(stamps.isDue(now()), false);
});

Deno.test("no stamp lasts longer than a knock that bears it could be accepted", () => {
  const { stamps, now, pass } = server();
  for (const { word, timeoutMs } of stamps.list(now())) {
    const window = Array.from({ length: 40 }, (_, i) => Math.floor(START_MS / 32_000) - 20 + i)
      .find((each) => wordAt(each * 32_000) === word)!;
    assert.equal(START_MS + timeoutMs, (window + 1) * 32_000 + 60_000);
  }
  const before = stamps.list(now()).length;
  pass(100_000);
  assert.ok(stamps.list(now()).length < before);
});

Deno.test("a clock that was set by more than a second makes new stamps due, in both directions", () => {
  for (const ms of [-3_600_000, -1100, 1100, 3_600_000]) {
    const { stamps, now, setClock } = server();
    setClock(ms);
    assert.ok(stamps.isDue(now()), `${ms}`);
    stamps.renew(now());
    assert.ok(!stamps.isDue(now()));
    assert.ok(stamps.list(now()).some(({ word }) => word === wordAt(START_MS + ms)));
  }
  const { stamps, now, setClock } = server();
  setClock(500); // as a time service adjusts it
  assert.ok(!stamps.isDue(now()));
});

Deno.test("after a suspend, in which only the wall clock went on, new stamps are due", () => {
  const { stamps, now, setClock } = server();
  setClock(600_000);
  assert.ok(stamps.isDue(now()));
});

Deno.test("during a rotation both keys' stamps count, and afterwards those of the new one", () => {
  const { stamps, config, now } = server(OLD_KEY);
  const old = wordAt(START_MS, publicKeyOf("X25519", OLD_KEY));
  const words = () => stamps.list(now()).map(({ word }) => word);
  assert.ok(words().includes(old) && words().includes(wordAt(START_MS)));
  stamps.reconfigure({ ...config, previousPrivateKey: undefined }, now());
  assert.ok(!words().includes(old) && words().includes(wordAt(START_MS)));
});

Deno.test("has() knows the knocks of openme's own client from all others", async () => {
  const { config } = server();
  const wallMs = Date.now();
  const stamps = new CurrentStamps(config, { wallNs: BigInt(wallMs) * 1_000_000n, steadyMs: 0 });
  assert.ok(stamps.has(await freshKnock(ALICE_PROFILE)));
  assert.ok(!stamps.has(await knockBy(ALICE)));
  assert.ok(!stamps.has(filled(1, 165)));
});
