/**
 * At least 500,000 hostile datagrams through the whole way of a datagram (admission, gate, replay memory): none is let in,
 * each is dropped for a right reason, nothing is remembered, and the next good knock passes. `OPENME_ATTACK_SEED` repeats
 * a run.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type GateRules } from "../../lib/gate.ts";
import { Admission } from "../../lib/receive/admission.ts";
import { EphemeralKeys } from "../../lib/receive/ephemeral_keys.ts";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import { encodeBase64, hexToBytes } from "../../lib/crypto/keys.ts";
import { keyAgreement, signatureVerifier } from "../../lib/crypto/sync.ts";
import scenarioFile from "../vectors/scenarios.json" with { type: "json" };
import {
  address,
  agreeAsServer,
  ALICE,
  BOB,
  freshRules,
  memoryOf,
  must,
  NOW_NS,
  outcome,
  SERVER_PRIVATE_KEY,
  SERVER_PUBLIC_KEY,
  SOURCE,
} from "../support/knocks.ts";
import { LOW_ORDER_KEYS, NON_CANONICAL_POINTS, SMALL_ORDER_POINTS } from "./curve_points.ts";
import { CLASSES, EXPIRED, good, type Hostile, UNIT_WORLD } from "./hostile.ts";
import { Random } from "./random.ts";
import { judge } from "../support/judge.ts";

const COUNT = Number(Deno.env.get("OPENME_ATTACK_COUNT") ?? 500_000);
const SEED = Number(
  Deno.env.get("OPENME_ATTACK_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0],
);

/** What becomes of a datagram on its way through a server. */
class Server {
  readonly rules: GateRules;
  readonly #admission: Admission;
  #nowMs = 0;

  constructor(
    rules = freshRules({ agree: agreeAsServer, clients: [ALICE, BOB, EXPIRED] }),
    publicKey = SERVER_PUBLIC_KEY,
  ) {
    this.rules = rules;
    const config = { publicKey, onlyStampedKnocks: false } as ServerConfig;
    this.#admission = new Admission(config, { stamps: NO_STAMPS, keys: new EphemeralKeys() });
  }

  outcome(datagram: Uint8Array, source = SOURCE, nowNs = NOW_NS): string {
    // A second later each time, so that there is time for every one.
    const admitted = this.#admission.admit(datagram, this.#nowMs += 1000);
    if (typeof admitted === "string") return admitted;
    const { agree } = this.rules;
    const rules = { ...this.rules, agree: admitted.key?.remembering(agree) ?? agree };
    const verdict = judge(datagram, source, nowNs, rules);
    return verdict.kind === "grant" ? "grant" : verdict.reason;
  }
}

/** With a stamp of now, junk would be dropped for its tag before it comes to the gate. */
const NO_STAMPS = { has: () => false };

Deno.test(`${COUNT} hostile datagrams from seed ${SEED}: nothing granted, nothing remembered`, async (t) => {
  const random = new Random(SEED);
  let server = new Server();
  const counts = new Map<string, number>();
  const classes = new Map<string, number>();
  let sent = 0;
  const judgeOne = ({ why, datagram, expected }: Hostile) => {
    sent++;
    const got = server.outcome(datagram);
    counts.set(got, (counts.get(got) ?? 0) + 1);
    if (got !== expected) assert.fail(`${why}: ${got} instead of ${expected} (seed ${SEED})`);
  };
  while (sent < COUNT) {
    for (const [name, make] of Object.entries(CLASSES)) {
      const before = sent;
      for await (const hostile of make(random, UNIT_WORLD)) judgeOne(hostile);
      classes.set(name, (classes.get(name) ?? 0) + sent - before);
    }
    assert.deepEqual(memoryOf(server.rules).entries, [], "something hostile was remembered");
    // A knock of before is a replay from its first acceptance on; a fresh one is let in.
    const knock = await good(random);
    assert.equal(server.outcome(knock), "grant");
    assert.equal(server.outcome(knock), "replay");
    server = new Server(); // the next round's knocks are dated as this one's
  }
  assert.ok(sent >= COUNT);
  await t.step(
    `${sent} datagrams: ${
      [...counts].sort().map(([reason, count]) => `${reason} ${count}`).join(", ")
    }`,
    () => assert.ok(!counts.has("grant")),
  );
  const perClass = [...classes].map(([name, count]) => `${name} ${count}`).join(", ");
  await t.step(perClass, () => assert.ok(Math.min(...classes.values()) > 0));
});

Deno.test("every published low-order key is among the hostile ones, and each is refused", async () => {
  assert.ok(LOW_ORDER_KEYS.length >= 14);
  const knock = await good(new Random(1));
  for (const hex of LOW_ORDER_KEYS) {
    const datagram = knock.slice();
    datagram.set(must(hex.match(/../g)).map((pair) => parseInt(pair, 16)), 1);
    assert.equal(outcome(datagram, freshRules()), "key_agreement", hex);
  }
});

Deno.test("no public key of small order, and none that is not canonical, can be registered", () => {
  const text = (hex: string) =>
    `server:
  private_key: ${encodeBase64(SERVER_PRIVATE_KEY)}
  public_key: ${encodeBase64(SERVER_PUBLIC_KEY)}
clients:
  alice:
    ed25519_pubkey: ${encodeBase64(hexToBytes(hex))}
    allowed_ports: ["22/tcp"]
`;
  assert.equal(parseServerConfig(text(ALICE.key), "good").clients.length, 1);
  const points = new Set([...SMALL_ORDER_POINTS, ...NON_CANONICAL_POINTS]);
  assert.ok(points.size >= 48);
  for (const hex of points) {
    assert.throws(
      () => parseServerConfig(text(hex), "bad"),
      /clients\.alice\.ed25519_pubkey: .*(small order|not canonical)/,
      hex,
    );
  }
});

Deno.test("every scenario vector, through admission and gate of the server that it is for", () => {
  const clients = Object.entries(
    scenarioFile.clients as Record<string, { public_key_hex: string; expires_ns?: string }>,
  ).map(([name, entry]) => ({
    name,
    key: entry.public_key_hex,
    verify: signatureVerifier(hexToBytes(entry.public_key_hex)),
    expiresNs: entry.expires_ns === undefined ? undefined : BigInt(entry.expires_ns),
  }));
  for (const { name, steps } of scenarioFile.scenarios) {
    const server = new Server(
      freshRules({
        agree: keyAgreement(hexToBytes(scenarioFile.server_private_key_hex)),
        clients,
        replayWindowNs: BigInt(scenarioFile.replay_window_ns),
      }),
      hexToBytes(scenarioFile.server_public_key_hex),
    );
    for (const [i, { packet_hex, source, now_ns, expect }] of steps.entries()) {
      const got = server.outcome(hexToBytes(packet_hex), address(source), BigInt(now_ns));
      assert.equal(got, expect, `${name}, step ${i + 1}`);
    }
  }
});

Deno.test("a million junk datagrams leave memory and disk of a server as they were", async (t) => {
  // In a process of its own, whose garbage can be collected when the test wants that.
  const script = fileURLToPath(new URL("./junk_memory.ts", import.meta.url));
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--v8-flags=--expose-gc", script, String(SEED)],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  const { sent, grownMb, remembered, granted, onDisk, after } = JSON.parse(
    new TextDecoder().decode(stdout),
  );
  assert.equal(sent, 1_000_000);
  assert.deepEqual({ remembered, granted, onDisk }, { remembered: 0, granted: 0, onDisk: 0 });
  assert.deepEqual(after, { remembered: 1, granted: 1 }, "the next good knock");
  await t.step(`memory grew by ${grownMb.toFixed(1)} MB`, () => assert.ok(grownMb < 4));
});
