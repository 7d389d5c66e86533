/** A fleet on an engine in memory: what each host lets in, and what an engine in strange hands can do. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import type { Engine } from "../../lib/fleet/engine.ts";
import { Claims } from "../../lib/fleet/claims.ts";
import { Fleet } from "../../lib/fleet/fleet.ts";
import { fleetSeal } from "../../lib/fleet/keys.ts";
import { decide, identify, type SignedKnock } from "../../lib/gate.ts";
import { formatAddress } from "../../lib/values/address.ts";
import { address, ALICE, filled, freshRules, knockBy, NOW_NS } from "../support/knocks.ts";
import { memoryLog } from "../support/memory_log.ts";
import { pause, waitFor } from "../support/wait.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";

const SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

/** What hosts share, as an honest engine keeps it. */
class MemoryEngine {
  readonly claims = new Map<string, string>();
  readonly stream: string[] = [];
  readonly hosts: Host[] = [];
  isUp = true;

  for(claimant: string): Engine {
    return {
      claim: async (name) => {
        await pause(0);
        if (!this.isUp) throw new Error("away");
        if (!this.claims.has(name)) this.claims.set(name, claimant);
        return this.claims.get(name) === claimant;
      },
      publish: (entry) => void (this.isUp && this.stream.push(entry)),
      state: () => ({
        isUp: this.isUp,
        why: undefined,
        sinceSteadyMs: 0,
        roundTripMs: undefined,
      }),
      close: () => Promise.resolve(),
    };
  }

  /** Hands every host what is in the stream. */
  deliver(): void {
    const entries = this.stream.splice(0);
    for (const { fleet } of this.hosts) for (const entry of entries) fleet.entry(entry);
  }
}

/** A host that decides as the server does. */
class Host {
  readonly fleet: Fleet;
  readonly #sink;
  /** By address: whom it let in. */
  readonly open: string[] = [];
  readonly dropped: string[] = [];
  readonly events;
  wallNs = NOW_NS;
  steadyMs = 0;

  constructor(
    engine: MemoryEngine,
    host: string,
    { server = [], clients, isStarting = false }: {
      server?: string[];
      clients?: string;
      /** It takes no entries yet. */
      isStarting?: boolean;
    } = {},
  ) {
    const text = serverYaml({
      server: ["fleet:", "  name: vps", "  url: redis://127.0.0.1", ...server.map((l) => `  ${l}`)],
      ...(clients === undefined ? {} : { rest: clients }),
    });
    const config = parseServerConfig(text, "server.yaml");
    const { log, events } = memoryLog();
    this.events = events;
    const clock = { bootId: "b", now: () => ({ wallNs: this.wallNs, steadyMs: this.steadyMs }) };
    this.fleet = new Fleet(config, config.fleet!, {
      clock,
      log,
      host,
      claimant: `${host}1`,
      newId: () => crypto.randomUUID(),
    });
    this.fleet.use(engine.for(`${host}1`));
    if (!isStarting) this.fleet.run(AbortSignal.abort());
    engine.hosts.push(this);
    const rules = freshRules({ clients: [...config.keys.byKey.values()] });
    this.#sink = this.fleet.over({
      signed: (knock) => {
        const verdict = decide(knock, this.wallNs, {
          ...rules,
          ruleAgainst: () => {
            const unclaimed = knock.fleet?.unclaimed;
            return unclaimed === "code" ? "code_used" : unclaimed && "unclaimed";
          },
        });
        if (verdict.kind === "drop") return void this.dropped.push(verdict.reason);
        this.open.push(`${formatAddress(verdict.address)} ${knock.fleet?.ageMs ?? 0}`);
        this.fleet.granted(knock);
      },
      dropped: (reason) => void this.dropped.push(reason),
      droppedMore: () => {},
    });
  }

  /** The datagram arrives here. */
  async takes(datagram: Uint8Array, from: string): Promise<void> {
    const signed = identify(datagram, address(from), freshRules());
    const decided = () => this.open.length + this.dropped.length;
    const before = decided();
    this.#sink.signed(signed as SignedKnock);
    await waitFor("the decision", () => decided() > before, { everyMs: 1 });
  }
}

Deno.test("one knock lets in at every host, and its replay at none", async (t) => {
  const replayed = "203.0.113.66";
  for (const when of ["before the others know", "after"]) {
    await t.step(when, async () => {
      const engine = new MemoryEngine();
      const [a, b, c] = ["a", "b", "c"].map((name) => new Host(engine, name)) as [Host, Host, Host];
      const datagram = await knockBy(ALICE);
      await a.takes(datagram, "198.51.100.20");
      if (when === "after") engine.deliver();
      for (const host of [a, b, c]) await host.takes(datagram, replayed);
      engine.deliver();
      for (const host of [a, b, c]) {
        assert.deepEqual(host.open, ["198.51.100.20 0"]);
        assert.deepEqual(new Set(host.dropped), new Set(["replay"]));
      }
    });
  }
});

Deno.test("a host that comes later opens for the rest of the time, and by its own configuration", async () => {
  const engine = new MemoryEngine();
  const a = new Host(engine, "a");
  const late = new Host(engine, "late");
  const stranger = new Host(engine, "stranger", { clients: "clients: {}" });
  await a.takes(await knockBy(ALICE), "198.51.100.20");
  late.wallNs += 7_000_000_000n;
  engine.deliver();
  assert.deepEqual(late.open, ["198.51.100.20 7000"]);
  assert.deepEqual(stranger.open, []);
  const behind = new Host(engine, "behind");
  behind.wallNs -= 5_000_000_000n;
  await a.takes(await knockBy(ALICE, { randomNonce: filled(1, 16) }), "198.51.100.20");
  engine.deliver();
  assert.deepEqual(behind.open, ["198.51.100.20 0"], "never for longer than a knock opens");
});

Deno.test("an engine that is away: a host goes on alone, or lets nobody in", async () => {
  const engine = new MemoryEngine();
  engine.isUp = false;
  const alone = new Host(engine, "alone");
  const refusing = new Host(engine, "refusing", { server: ["when_down: refuse"] });
  for (const host of [alone, refusing]) {
    await host.takes(await knockBy(ALICE), "198.51.100.20");
  }
  assert.deepEqual(alone.open, ["198.51.100.20 0"]);
  assert.deepEqual(refusing.open, []);
  assert.deepEqual(refusing.dropped, ["unclaimed"]);
  engine.isUp = true;
  const again = await knockBy(ALICE, { randomNonce: filled(2, 16) });
  await refusing.takes(again, "198.51.100.20");
  assert.deepEqual(refusing.open, ["198.51.100.20 0"]);
});

Deno.test("a knock that came while the engine was away is claimed once it is back", async () => {
  const engine = new MemoryEngine();
  const [a, b] = [new Host(engine, "a"), new Host(engine, "b")];
  const datagram = await knockBy(ALICE);
  engine.isUp = false;
  await a.takes(datagram, "198.51.100.20");
  engine.isUp = true;
  a.fleet.changed({ isUp: true, why: undefined, sinceSteadyMs: 0, roundTripMs: undefined });
  await pause(5);
  await b.takes(datagram, "203.0.113.66");
  assert.deepEqual(b.open, []);
  assert.deepEqual(b.dropped, ["replay"]);
});

Deno.test("a code is claimed after its knock, for all keys and hosts, and later where the engine was away", async () => {
  const engine = new MemoryEngine();
  const entry = `{ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [22/tcp], totp: ${SECRET}}`;
  const clients = `clients:\n  alice: ${entry}`;
  const [a, b] = [new Host(engine, "a", { clients }), new Host(engine, "b", { clients })];
  const knockWith = (code: number, i: number) => {
    const randomNonce = filled(i, 16);
    new DataView(randomNonce.buffer).setUint32(8, code);
    return knockBy(ALICE, { randomNonce });
  };
  const first = await knockWith(123456, 1);
  await a.takes(first, "198.51.100.20");
  assert.equal(engine.claims.size, 2);
  assert.ok([...engine.claims.keys()].every((name) => /^[0-9a-f]{64}$/.test(name)));
  await b.takes(first, "203.0.113.66");
  await b.takes(await knockWith(123456, 2), "203.0.113.66");
  assert.deepEqual([b.open, b.dropped], [[], ["replay", "code_used"]]);
  await a.takes(await knockWith(123456, 3), "198.51.100.20");
  assert.equal(a.open.length, 2, "the rest is for the host's own memory to say");

  engine.claims.clear();
  // A copy that comes first takes the code along: not the one host the knock, and the other one its code.
  const both = await knockWith(234567, 4);
  await Promise.all([a.takes(both, "198.51.100.20"), b.takes(both, "203.0.113.66")]);
  assert.equal(new Set(engine.claims.values()).size, 1);

  // Whoever has the key and the code floods a host, so that nothing of that key is claimed there.
  const [c, open] = [new Host(engine, "c", { clients }), b.open.length];
  await a.takes(await knockWith(456789, 7), "198.51.100.20");
  const flood = Array.from({ length: 1000 }, async (_, i) => {
    const randomNonce = filled(8, 16);
    new DataView(randomNonce.buffer).setUint32(0, i);
    await c.takes(await knockBy(ALICE, { randomNonce }), "203.0.113.66");
  });
  await Promise.all(flood);
  c.open.length = 0;
  await c.takes(await knockWith(456789, 9), "203.0.113.66");
  assert.deepEqual([c.open, b.open.length], [[], open]);
  assert.equal(c.dropped.at(-1), "code_used");

  engine.isUp = false;
  await a.takes(await knockWith(345678, 5), "198.51.100.20");
  engine.isUp = true;
  a.fleet.changed({ isUp: true, why: undefined, sinceSteadyMs: 0, roundTripMs: undefined });
  await pause(5);
  await b.takes(await knockWith(345678, 6), "203.0.113.66");
  assert.equal(b.dropped.at(-1), "code_used");
});

Deno.test("others are told how long a knock had waited for another one, so that they judge its code for then", async () => {
  const engine = new MemoryEngine();
  const [a, b] = [new Host(engine, "a"), new Host(engine, "b")];
  const held: SignedKnock[] = [];
  const told: SignedKnock["fleet"][] = [];
  const rest = { dropped: () => {}, droppedMore: () => {} };
  const sink = a.fleet.over({ ...rest, signed: (knock) => void held.push(knock) });
  b.fleet.over({ ...rest, signed: ({ fleet }) => void told.push(fleet) });
  sink.signed(
    identify(await knockBy(ALICE), address("198.51.100.20"), freshRules()) as SignedKnock,
  );
  await waitFor("the claim", () => held.length > 0, { everyMs: 1 });
  a.steadyMs += 45_000.4;
  for (const host of [a, b]) host.wallNs += 45_000_000_000n;
  a.fleet.granted(held[0]!);
  b.wallNs += 2_000_000_000n;
  engine.deliver();
  assert.deepEqual(told, [{ from: "a", ageMs: 2000, waitedMs: 45_000 }]);
});

Deno.test("what was written before a host takes knocks waits for it", async () => {
  const engine = new MemoryEngine();
  const a = new Host(engine, "a");
  const starting = new Host(engine, "starting", { isStarting: true });
  await a.takes(await knockBy(ALICE), "198.51.100.20");
  engine.deliver();
  assert.deepEqual(starting.open, []);
  starting.fleet.run(AbortSignal.abort());
  assert.deepEqual(starting.open, ["198.51.100.20 0"]);
});

Deno.test("what no host has written lets nobody in, and is told once a minute", async () => {
  const engine = new MemoryEngine();
  const client = (
    name: string,
    key: string,
  ) => [`  ${name}:`, `    ed25519_pubkey: ${key}`, "    allowed_ports: [22/tcp]"];
  const clients = ["clients:", ...client("alice", ALICE_PUBLIC), ...client("bob", OTHER_PUBLIC)];
  const a = new Host(engine, "a");
  const b = new Host(engine, "b", { clients: clients.join("\n") });
  const datagram = await knockBy(ALICE);
  await a.takes(datagram, "198.51.100.20");
  const [genuine] = engine.stream.splice(0);
  const ours = { privateKey: filled(0x51), previousPrivateKey: undefined };
  const seal = fleetSeal(ours, "vps");
  const text = seal.open(genuine!)!;
  const said = JSON.parse(text);
  const bytes = Uint8Array.fromBase64(genuine!);
  const forged = [
    "",
    text,
    genuine!.slice(0, -4),
    ...[0, 30, bytes.length - 1].map((i) => bytes.with(i, bytes[i]! ^ 1).toBase64()),
    fleetSeal({ ...ours, privateKey: filled(0x77) }, "vps").seal(text),
    fleetSeal(ours, "other").seal(text),
    // Of a host, but nothing that one says.
    ...["null", "[]", "1", "{", `{"knock":1}`, `{"__proto__":${text}}`].map((t) => seal.seal(t)),
    ...[
      { knock: "AAAA" },
      { source: "nowhere" },
      { key: undefined },
      { key: said.key.slice(2) },
      // Another client's, and none's.
      { key: Uint8Array.fromBase64(OTHER_PUBLIC).toHex() },
      { key: "00".repeat(32) },
      ...[-1, 60_001, "1", undefined].map((waitedMs) => ({ waitedMs })),
      { host: "a\nb" },
      { claimant: undefined },
      { at: "1" },
    ].map((change) => seal.seal(JSON.stringify({ ...said, ...change }))),
  ];
  for (const entry of forged) b.fleet.entry(entry);
  assert.deepEqual(b.open, []);
  assert.equal(b.events.filter(({ event }) => event === "fleet_junk").length, 1);
  b.fleet.entry(genuine!);
  b.fleet.entry(genuine!);
  assert.deepEqual(b.open, ["198.51.100.20 0"]);
  assert.deepEqual(b.dropped, ["replay"]);
});

Deno.test("while the server's key is rotated, hosts with and without the new one know each other", () => {
  const [old, next] = [filled(0x51), filled(0x52)];
  const before = fleetSeal({ privateKey: old, previousPrivateKey: undefined }, "vps");
  const during = fleetSeal({ privateKey: next, previousPrivateKey: old }, "vps");
  const after = fleetSeal({ privateKey: next, previousPrivateKey: undefined }, "vps");
  for (const [from, to] of [[before, during], [during, before], [after, during]] as const) {
    assert.equal(to.open(from.seal("text")), "text");
  }
  assert.equal(before.open(after.seal("text")), undefined);
});

Deno.test("a knock that opens nothing anyway is not claimed; one that is repeated is claimed once", async () => {
  const engine = new MemoryEngine();
  const a = new Host(engine, "a");
  await a.takes(await knockBy(ALICE, { timestampNs: NOW_NS - 61_000_000_000n }), "198.51.100.20");
  const stranger = new Host(engine, "stranger", { clients: "clients: {}" });
  const datagram = await knockBy(ALICE, { timestampNs: NOW_NS });
  await stranger.takes(datagram, "198.51.100.20");
  const clients = `clients:
  alice: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [22/tcp], expires: 2020-01-01}`;
  const former = new Host(engine, "former", { clients });
  await former.takes(datagram, "198.51.100.20");
  assert.deepEqual(former.dropped, ["expired"]);
  assert.equal(engine.claims.size, 0);
  assert.deepEqual([a.dropped, stranger.dropped], [["stale"], ["signature"]]);
  await a.takes(datagram, "198.51.100.20");
  assert.equal(engine.claims.size, 1);
  assert.match([...engine.claims.keys()][0]!, /^[0-9a-f]{64}$/);
  engine.claims.clear();
  await a.takes(datagram, "198.51.100.20");
  assert.equal(engine.claims.size, 0);
  assert.deepEqual(a.dropped, ["stale", "replay"]);
});

Deno.test("a client that floods a host has few claims at the engine; all together are in bounded memory", async () => {
  const engine = new MemoryEngine();
  const a = new Host(engine, "a");
  const signed = identify(await knockBy(ALICE), address("198.51.100.20"), freshRules());
  const passed: SignedKnock[] = [];
  const sink = a.fleet.over({
    signed: (knock) => void passed.push(knock),
    dropped: () => {},
    droppedMore: () => {},
  });
  for (let i = 0; i < 5000; i++) {
    const randomNonce = filled(0, 16);
    new DataView(randomNonce.buffer).setUint32(0, i);
    sink.signed({ ...(signed as SignedKnock), randomNonce });
  }
  await waitFor("all", () => passed.length === 5000, { everyMs: 1 });
  assert.equal(engine.claims.size, 1000);
  a.steadyMs += 10_000;
  for (const knock of passed) sink.signed(knock);
  await waitFor("all again", () => passed.length === 10_000, { everyMs: 1 });
  assert.equal(engine.claims.size, 1100);

  const clock = { bootId: "b", now: () => ({ wallNs: NOW_NS, steadyMs: 0 }) };
  const claims = new Claims(clock);
  for (let i = 0; i < 5000; i++) {
    await claims.claim(undefined, { name: `${i}`, key: `${i % 50}`, forMs: 1000 });
  }
  assert.equal(claims.size, 4096);
});

const UP = { isUp: true, why: undefined, sinceSteadyMs: 0, roundTripMs: undefined };

Deno.test("a host whose clock is far off is heard, and told that it is; what it asks is too old", async () => {
  const engine = new MemoryEngine();
  const [a, b] = [new Host(engine, "a"), new Host(engine, "b")];
  let asked = 0;
  b.fleet.onAsked(() => Promise.resolve(asked++));
  b.wallNs -= 600_000_000_000n;
  for (const { fleet } of [a, b]) fleet.changed(UP);
  engine.deliver();
  assert.deepEqual(a.fleet.hosts().map(({ host, aheadMs }) => [host, aheadMs]), [["b", -600_000]]);
  assert.deepEqual(b.fleet.hosts().map(({ host, aheadMs }) => [host, aheadMs]), [["a", 600_000]]);
  const answers = a.fleet.ask({ command: "close", all: true }, 20);
  engine.deliver();
  assert.deepEqual(await answers, [{ host: "b", value: undefined, error: "no answer in time" }]);
  assert.equal(asked, 0);
});
