/**
 * A taker that strangers have taken over: it may let in registered clients, to their own ports and for their time, and
 * nothing else. docs/threat-model.md cites these by name.
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import { GRANT_CAPS } from "../../lib/grants.ts";
import { NONCES_PER_CLIENT } from "../../lib/replay.ts";
import { ALICE, BOB, MALLORY, NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { Folder } from "../support/folder.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { encodeBase64, hexToBytes } from "../../lib/crypto/keys.ts";
import { anyLine, claim, freshNonce, GARBAGE, NO_ADDRESSES, UNHOLDABLE } from "./hostile_taker.ts";
import { Keeper } from "./keeper.ts";

const LIFETIME_MS = 30_000;
/** Fewer than the keeper lets open something in a second, so that the test need not wait. */
const A_SECOND = 400;
const PORTS: Readonly<Record<string, string>> = {
  alice: "22/tcp, 8000-8100/tcp",
  bob: "80/tcp, 53/udp",
  expired: "22/tcp",
};
const BOB_PUBLIC = encodeBase64(hexToBytes(BOB.key));
const EXPIRED_KEY = [...parse({ expired: OTHER_PUBLIC }).keys.byKey.keys()][0]!;
const KEYS = [ALICE.key, BOB.key, EXPIRED_KEY, MALLORY.key];

/** A server with these clients; one of that name has expired long ago. */
function parse(clients: Readonly<Record<string, string>>): ServerConfig {
  const lines = Object.entries(clients).map(([name, key]) => {
    const expires = name === "expired" ? ', expires: "2020-01-01"' : "";
    return `  ${name}: {ed25519_pubkey: ${key}, allowed_ports: [${PORTS[name]}]${expires}}`;
  });
  const server = [`knock_timeout: ${LIFETIME_MS / 1000}s`];
  return parseServerConfig(
    serverYaml({ server, rest: ["clients:", ...lines].join("\n") }),
    "c.yaml",
  );
}
const CLIENTS = { alice: ALICE_PUBLIC, bob: BOB_PUBLIC, expired: OTHER_PUBLIC };

Deno.test("a hostile taker lets nobody in with what is no message, and the log says so once a minute", async (t) => {
  await using folder = await Folder.create();
  await using keeper = await Keeper.start(folder.path, parse(CLIENTS));
  for (const [why, make] of Object.entries(GARBAGE)) {
    await t.step(why, async () => {
      for (let i = 0; i < 20; i++) {
        await keeper.takes(make(), Uint8Array.of(10));
        keeper.clock.pass(25);
      }
      assert.equal(keeper.grants.size, 0);
      // The line after it is read as ever.
      await keeper.takes(claim(ALICE.key, "192.0.2.1", keeper.clock.wallNs));
      assert.equal(keeper.grants.size, 1, why);
      await keeper.pipeline.withdraw(() => true, "for the next one");
    });
  }
  assert.equal(keeper.told("taker_misbehaves"), 1);
  keeper.clock.pass(60_001);
  await keeper.takes(...Array.from({ length: 50 }, () => GARBAGE["deep JSON"]!()));
  assert.equal(keeper.told("taker_misbehaves"), 2);
});

Deno.test("a hostile taker cannot let in", async (t) => {
  await using folder = await Folder.create();
  await using keeper = await Keeper.start(folder.path, parse(CLIENTS));
  const good = claim(ALICE.key, "192.0.2.1", NOW_NS);
  const cases: Record<string, object[]> = {
    "a key that is not registered": [{ ...good, signed: MALLORY.key }],
    "a key that has expired": [{ ...good, signed: EXPIRED_KEY }],
    "a name, or a key in another form": [
      "alice",
      ALICE.key.toUpperCase(),
      ALICE.key.slice(1),
      "",
      1,
      null,
      [ALICE.key],
    ]
      .map((signed) => ({ ...good, signed })),
    "an address that no client can hold": UNHOLDABLE.flatMap((at) => [
      { ...good, target: at },
      { ...good, source: at, target: undefined },
    ]),
    "what is no address": NO_ADDRESSES.flatMap((
      at,
    ) => [{ ...good, target: at }, { ...good, source: at }]),
    "with a nonce of another form": ["", "00", "g".repeat(32), "0".repeat(33), 5, null, {}]
      .map((nonce) => ({ ...good, nonce })),
    "with another time": [
      ...[NOW_NS - WINDOW_NS - 1n, NOW_NS + WINDOW_NS + 1n, 0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)],
      ...[
        "",
        "-",
        "1e18",
        " 1",
        "0x1",
        "9".repeat(19),
        "-" + "9".repeat(19),
        Number(NOW_NS),
        null,
        {},
      ],
    ].map((time) => ({ ...good, time: typeof time === "bigint" ? String(time) : time })),
    "through a prototype": [JSON.parse(`{"__proto__":${JSON.stringify(good)}}`)],
  };
  for (const [what, claims] of Object.entries(cases)) {
    await t.step(what, async () => {
      await keeper.takes(...claims);
      assert.equal(keeper.grants.size, 0);
      assert.equal(keeper.changes, 0);
    });
  }
  await t.step("and what it may is for the client's own ports and time", async () => {
    await keeper.takes({ ...good, ports: ["1-65535/tcp"], lifetime: "1h", client: "root" });
    const [grant, ...others] = [...keeper.grants.list()];
    assert.deepEqual(others, []);
    assert.equal(grant!.client, "alice");
    assert.equal(grant!.endsSteadyMs, keeper.clock.steadyMs + LIFETIME_MS);
  });
  await t.step("the same knock twice, nor after a restart", async () => {
    keeper.clock.pass(10_000);
    await keeper.takes(good, good, { ...good, source: "192.0.2.9", target: "192.0.2.9" });
    assert.equal(keeper.grants.size, 1);
    assert.equal(
      [...keeper.grants.list()][0]!.endsSteadyMs,
      keeper.clock.steadyMs + LIFETIME_MS - 10_000,
    );
  });
});

Deno.test("a hostile taker cannot bring back a knock of before a restart", async () => {
  await using folder = await Folder.create();
  const knocks = Array.from({ length: 50 }, (_, i) => claim(ALICE.key, `192.0.2.${i}`, NOW_NS));
  let clock;
  {
    await using keeper = await Keeper.start(folder.path, parse(CLIENTS));
    clock = keeper.clock;
    await keeper.takes(...knocks);
    assert.equal(keeper.grants.size, 50);
    clock.pass(LIFETIME_MS + 1);
    keeper.tick();
    assert.equal(keeper.grants.size, 0);
  }
  await using keeper = await Keeper.start(folder.path, parse(CLIENTS), clock);
  await keeper.takes(...knocks);
  assert.equal(keeper.grants.size, 0);
});

Deno.test("a hostile taker cannot let in a client that was removed in that moment", async () => {
  await using folder = await Folder.create();
  await using keeper = await Keeper.start(folder.path, parse(CLIENTS));
  await keeper.takes(claim(BOB.key, "192.0.2.2", NOW_NS), claim(ALICE.key, "192.0.2.1", NOW_NS));
  const flood = () =>
    keeper.takes(
      ...Array.from({ length: 500 }, (_, i) => claim(BOB.key, `198.51.100.${i % 250}`, NOW_NS)),
    );
  const before = flood();
  keeper.reconfigure(parse({ alice: ALICE_PUBLIC }));
  await before;
  await flood();
  assert.deepEqual([...keeper.grants.list()].map(({ client }) => client), ["alice"]);
  assert.deepEqual([...keeper.open.keys()], ["192.0.2.1"]);
});

Deno.test("a hostile taker closes nobody's grant, and keeps none open", async () => {
  await using folder = await Folder.create();
  await using keeper = await Keeper.start(folder.path, parse(CLIENTS));
  await keeper.takes(claim(BOB.key, "192.0.2.2", NOW_NS));
  // As many of alice's as it can, from the same address too, and everything else that it knows.
  for (let i = 0; i < 400; i++) {
    const { wallNs } = keeper.clock;
    await keeper.takes(
      claim(ALICE.key, i % 2 ? "192.0.2.2" : `10.0.${i >> 8}.${i & 255}`, wallNs),
      Object.values(GARBAGE)[i % Object.keys(GARBAGE).length]!(),
    );
    keeper.clock.pass(LIFETIME_MS / 410);
    keeper.tick();
    assert.ok([...keeper.grants.list()].some(({ client }) => client === "bob"), `ended after ${i}`);
  }
  keeper.clock.pass(LIFETIME_MS / 10);
  keeper.tick();
  assert.ok(![...keeper.grants.list()].some(({ client }) => client === "bob"));
  keeper.clock.pass(LIFETIME_MS);
  keeper.tick();
  assert.equal(keeper.grants.size, 0);
});

Deno.test("100,000 knocks that a hostile taker invents: grants, nonces, disk and log stay within their bounds", async () => {
  await using folder = await Folder.create();
  await using keeper = await Keeper.start(folder.path, parse(CLIENTS));
  const round = async (n: number) => {
    const { wallNs } = keeper.clock;
    await keeper.takes(
      ...Array.from({ length: A_SECOND }, (_, i) => {
        const key = i % 2 ? ALICE.key : BOB.key;
        return claim(key, `10.${n}.${i >> 8}.${i & 255}`, wallNs + BigInt(i));
      }),
    );
    keeper.clock.pass(1000);
    keeper.tick();
  };
  for (let n = 0; n < 100_000 / A_SECOND; n++) await round(n);
  assert.ok(keeper.events.length <= 50 * 100_000 / A_SECOND, "50 lines a second");
  assert.ok(keeper.grants.size <= 2 * GRANT_CAPS.perClient);
  assert.ok([...keeper.replay.entries()].length <= 2 * NONCES_PER_CLIENT);
  const { size } = await Deno.stat(folder.file("state.db"));
  assert.ok(size < 8 * 2 ** 20, `${size} bytes`);
});

Deno.test("a hostile taker opens nothing that the configuration does not allow, whatever it says", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(anyLine(KEYS, NOW_NS), fc.nat(3000)), { minLength: 1, maxLength: 60 }),
      fc.nat(60),
      async (lines, reloadsAt) => {
        await using folder = await Folder.create();
        await using keeper = await Keeper.start(folder.path, parse(CLIENTS));
        for (const [i, [bytes, passMs]] of lines.entries()) {
          if (i === reloadsAt) keeper.reconfigure(parse({ bob: BOB_PUBLIC }));
          await keeper.takes(bytes, Uint8Array.of(10)); // checks what is open
          keeper.clock.pass(passMs);
          keeper.tick();
        }
        keeper.clock.pass(LIFETIME_MS);
        keeper.tick();
        assert.equal(keeper.grants.size, 0);
        await keeper.takes(
          claim(BOB.key, "192.0.2.1", keeper.clock.wallNs, { nonce: freshNonce() }),
        );
        assert.equal(keeper.grants.size, 1, "the keeper goes on");
      },
    ),
    { numRuns: Number(Deno.env.get("OPENME_FUZZ_RUNS") ?? 150) },
  );
});
