/**
 * What a knock leaves on disk, and when: `lib/receive/pipeline.ts` with a real store and a real guard, whose backend looks at the
 * disk each time that it is asked to open something.
 */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { loadCodes } from "../../lib/config/codes.ts";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import type { Clock, Moment } from "../../lib/values/moment.ts";
import { ServerLog } from "../../lib/receive/server_log.ts";
import type { Backend, ClientOpenings } from "../../lib/firewall/backend.ts";
import { type FleetKnock, identify, type SignedKnock } from "../../lib/gate.ts";
import { Guard } from "../../lib/firewall/guard.ts";
import { type Grant, GRANT_CAPS, type GrantCaps, Grants } from "../../lib/grants.ts";
import { EphemeralKeys } from "../../lib/receive/ephemeral_keys.ts";
import { Pipeline } from "../../lib/receive/pipeline.ts";
import { SignerSearch } from "../../lib/receive/signer_search.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { OFFSET_CODE } from "../../lib/packet.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { GRANT_COLUMNS, grantFromRow, type GrantRow } from "../../lib/state/schema.ts";
import { StateStore } from "../../lib/state/store.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { memoryLog } from "../support/memory_log.ts";
import { copyOfState } from "../state/support.ts";
import {
  address,
  ALICE,
  filled,
  freshRules,
  knockBy,
  NOW_NS,
  sender,
  SOURCE,
  WINDOW_NS,
} from "../support/knocks.ts";

/** A server that knows alice, who may reach these ports. */
function configOf(
  ports = "[22/tcp, 80/tcp]",
  server: string[] = [],
  rules = "",
  bobsRules = "",
): ServerConfig {
  const text = serverYaml({
    server: ["drop_ports: true", ...server],
    rest: `clients:
  alice: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: ${ports}, disable_health_port: true${rules}}
  bob: {ed25519_pubkey: ${OTHER_PUBLIC}, allowed_ports: [22/tcp]${bobsRules}}`,
  });
  return parseServerConfig(text, "server.yaml");
}

/** Two clocks that a test moves. */
class MovedClock implements Clock {
  readonly bootId = "boot-1";
  wallNs = NOW_NS;
  steadyMs = 1_000_000;

  now(): Moment {
    return { wallNs: this.wallNs, steadyMs: this.steadyMs };
  }

  /** Time goes by. */
  pass(ms: number): void {
    this.wallNs += BigInt(ms) * 1_000_000n;
    this.steadyMs += ms;
  }

  /** The wall clock is set. */
  step(ms: number): void {
    this.wallNs += BigInt(ms) * 1_000_000n;
  }
}

interface Options {
  readonly config?: ServerConfig;
  readonly clock?: MovedClock;
  readonly caps?: Partial<GrantCaps>;
  readonly quota?: number;
  /** @default {true} */
  readonly canExtend?: boolean;
}

/** A pipeline on the state in a folder. */
class Process implements AsyncDisposable {
  readonly clock: MovedClock;
  readonly grants: Grants;
  readonly pipeline: Pipeline;
  readonly search: SignerSearch;
  /** What was on disk, and what was asked of the firewall then. */
  readonly asked: { changes: readonly ClientOpenings[]; nonces: number; grants: Grant[] }[] = [];
  readonly #dir: string;
  readonly #guard: Guard;
  readonly #store: StateStore;
  readonly #events;

  constructor(
    dir: string,
    { config = configOf(), clock = new MovedClock(), caps, quota, canExtend = true }: Options = {},
  ) {
    this.#dir = dir;
    this.clock = clock;
    const { log, events } = memoryLog();
    this.#events = events;
    this.grants = new Grants({ ...GRANT_CAPS, ...caps });
    const replay = new ReplayMemory(quota === undefined ? {} : { quota });
    const { store, stored } = StateStore.open({
      dir,
      replay,
      replayWindowNs: WINDOW_NS,
      clock,
      log,
    });
    this.#store = store;
    const backend = {
      name: "watched",
      apply: (changes: readonly ClientOpenings[]) => {
        this.asked.push({ changes, ...this.onDisk() });
        return Promise.resolve();
      },
      remove: () => Promise.resolve(),
    } as unknown as Backend;
    this.#guard = new Guard({ backend, grants: this.grants, clock, log });
    const drops = new ServerLog(log);
    const { grants } = this;
    const parts = { grants, replay, store, guard: this.#guard, clock, log, drops };
    this.pipeline = new Pipeline(config, {
      ...parts,
      canExtend,
      accepted: (key, source) => this.search.accepted(key, source),
    });
    const { signed, dropped } = this.pipeline;
    this.search = new SignerSearch(config, {
      ...{ clock, signed, dropped, keys: new EphemeralKeys() },
    });
    this.pipeline.resume(stored);
  }

  /** What another process would find in the database now. */
  onDisk(): { nonces: number; grants: Grant[] } {
    using database = new DatabaseSync(`${this.#dir}/state.db`, { readOnly: true });
    const [row] = database.prepare("SELECT count(*) AS n FROM nonces").all();
    const grants = database.prepare(`SELECT ${GRANT_COLUMNS} FROM grants`)
      .all() as unknown as GrantRow[];
    return { nonces: Number(row!["n"]), grants: grants.map(grantFromRow) };
  }

  /** Takes a datagram; gives the reason where it was dropped. */
  take(datagram: Uint8Array): string {
    const seen = this.#events.length;
    this.search.take(datagram, () => SOURCE, { tagged: false, key: undefined, isOther: true });
    const drop = this.#events.slice(seen).find(({ event }) => event === "dropped");
    return drop ? String(drop.fields["reason"]) : "granted";
  }

  /** Decides about a knock that a fleet knows something of. */
  decide(datagram: Uint8Array, fleet: FleetKnock): string {
    const seen = this.#events.length;
    const signed = identify(datagram, SOURCE, freshRules());
    this.pipeline.signed({ ...(signed as SignedKnock), fleet });
    const drop = this.#events.slice(seen).find(({ event }) => event === "dropped");
    return drop ? String(drop.fields["reason"]) : "granted";
  }

  told(event: string): number {
    return this.#events.filter((each) => each.event === event).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guard.stop();
    this.#store.close();
  }
}

/** A knock by alice of now, the `n`th. */
function knock(n: number, at = "198.51.100.20", { wallNs }: { wallNs: bigint } = new MovedClock()) {
  return knockBy(ALICE, {
    timestampNs: wallNs + BigInt(n) + 1n, // after the first start
    randomNonce: filled(n, 16),
    target: address(at),
  });
}

/** The process after this one was killed: what is on disk then, and nothing else. */
async function killed(folder: Folder, options: Options = {}): Promise<Process> {
  const dir = folder.file(`killed-${crypto.randomUUID()}`);
  return new Process(await copyOfState(folder.path, dir), options);
}

Deno.test("nonce and grant of a knock are on disk before the firewall is asked for anything", async () => {
  await using folder = await Folder.create();
  await using first = new Process(folder.path);
  for (const [n, at] of ["198.51.100.20", "198.51.100.21", "198.51.100.20"].entries()) {
    assert.equal(first.take(await knock(n, at)), "granted");
    await first.pipeline.withdraw(() => false, ""); // a turn, for the guard
    const { changes, nonces, grants } = first.asked.at(-1)!;
    assert.deepEqual(changes.map(({ address: { base } }) => base.bytes.at(-1)), [
      n === 1 ? 21 : 20,
    ]);
    assert.equal(nonces, n + 1);
    assert.equal(grants.length, Math.min(n + 1, 2));
  }
  assert.equal(first.asked.length, 3);
  await using second = await killed(folder);
  assert.equal(second.take(await knock(0)), "replay");
});

for (
  const [kind, caps] of Object.entries({
    "grants in all": { total: 1 },
    "grants of the client": { perClient: 1 },
    "grants at the address": { perAddress: 0 },
  })
) {
  Deno.test(`a knock that the limit of ${kind} has refused is no good after a restart`, async () => {
    await using folder = await Folder.create();
    await using first = new Process(folder.path, { caps });
    if (kind !== "grants at the address") assert.equal(first.take(await knock(1)), "granted");
    const refused = await knock(2, "198.51.100.99");
    assert.equal(first.take(refused), "limit");
    await using second = await killed(folder);
    assert.equal(second.take(refused), "replay");
    assert.equal(second.take(await knock(3, "198.51.100.99")), "granted", "there is room now");
  });
}

Deno.test("a knock that the client's quota of nonces has refused is no good after a restart", async () => {
  await using folder = await Folder.create();
  await using first = new Process(folder.path, { quota: 2 });
  for (const n of [1, 2]) assert.equal(first.take(await knock(n)), "granted");
  const refused = await knock(3);
  assert.equal(first.take(refused), "limit");
  await using second = await killed(folder);
  assert.equal(second.take(refused), "replay");
  assert.equal(second.take(await knock(4)), "granted", "there is room now");
});

Deno.test("a knock of another host of the fleet opens for the rest of its time", async () => {
  await using folder = await Folder.create();
  await using process = new Process(folder.path);
  const told: SignedKnock[] = [];
  process.pipeline.onGranted((knock) => told.push(knock));
  const { steadyMs } = process.clock;
  assert.equal(process.decide(await knock(1), { from: "a", ageMs: 29_999 }), "granted");
  assert.equal([...process.grants.list()][0]!.endsSteadyMs, steadyMs + 1);
  const late = await knock(2, "198.51.100.21");
  assert.equal(process.decide(late, { from: "a", ageMs: 30_000 }), "late");
  const unclaimed = await knock(3, "198.51.100.22");
  assert.equal(process.decide(unclaimed, { unclaimed: "knock" }), "unclaimed");
  assert.equal(process.grants.size, 1);
  assert.equal(process.take(await knock(4, "198.51.100.23")), "granted");
  assert.deepEqual(told.map(({ fleet }) => fleet?.from), ["a", undefined]);
  assert.deepEqual(told[1]!.datagram, await knock(4, "198.51.100.23"));
  await using second = await killed(folder);
  for (const refused of [late, unclaimed]) assert.equal(second.take(refused), "replay");
});

for (const stepMs of [-3_600_000, -2000, 2000, 3_600_000]) {
  Deno.test(`a reload after a clock step of ${stepMs} ms leaves every grant the time that it had`, async () => {
    await using folder = await Folder.create();
    await using process = new Process(folder.path);
    process.take(await knock(1));
    const [before] = process.grants.list();
    process.clock.pass(1000);
    process.clock.step(stepMs);
    process.pipeline.reconfigure(configOf(undefined, ["on_stop: closed"]));
    assert.deepEqual([...process.grants.list()], [before]);
    assert.equal(process.onDisk().grants.length, 1);
    assert.equal(process.told("withdrawn") + process.told("narrowed"), 0);

    process.pipeline.reconfigure(configOf("[22/tcp]", ["knock_timeout: 5s"]));
    const [after] = process.grants.list();
    assert.deepEqual(after!.ports.map(formatPortRange), ["22/tcp"]);
    assert.equal(after!.endsSteadyMs, process.clock.steadyMs + 5000);
    assert.deepEqual(process.onDisk().grants, [after]);
  });
}

Deno.test("what a restart takes from a grant is on disk, and no further restart gives it back", async () => {
  await using folder = await Folder.create();
  await using first = new Process(folder.path, {
    config: configOf(undefined, ["knock_timeout: 60s"]),
  });
  first.take(await knock(1));
  assert.equal(first.onDisk().grants[0]!.endsSteadyMs, first.clock.steadyMs + 60_000);
  const config = configOf("[22/tcp]", ["knock_timeout: 5s"]);
  let dir = folder.path;
  for (const leftMs of [5000, 3000, 1000, 0]) {
    dir = await copyOfState(dir, folder.file(`killed with ${leftMs}`));
    await using process = new Process(dir, { config, clock: first.clock });
    const left = [...process.grants.list()];
    assert.deepEqual(process.onDisk().grants, left);
    assert.deepEqual(
      left.map(({ ports, endsSteadyMs }) => [
        ports.map(formatPortRange),
        Math.round(endsSteadyMs - first.clock.steadyMs),
      ]),
      leftMs > 0 ? [[["22/tcp"], leftMs]] : [],
    );
    first.clock.pass(2000);
  }
});

/** Alice with a rule. */
function ruled(rule: string): ServerConfig {
  return configOf(undefined, undefined, `, ${rule}`);
}

/** Hours that hold at `NOW_NS` and for so many minutes after. */
function hoursFor(minutes: number): string {
  const timeOf = (ms: number) => new Date(Number(NOW_NS / 1_000_000n) + ms).toISOString();
  const [from, to] = [timeOf(-3_600_000), timeOf(minutes * 60_000)];
  return `hours: "${from.slice(11, 16)}-${to.slice(11, 16)} UTC"`;
}

Deno.test("a grant does not outlive the hours, neither one that is opened nor one that is open", async () => {
  await using folder = await Folder.create();
  await using process = new Process(folder.path, {
    config: ruled(`${hoursFor(5)}, lifetime: 8h`),
  });
  assert.equal(process.take(await knock(1)), "granted");
  const endsAtMs = () => [...process.grants.list()].map(({ expiresAtMs }) => expiresAtMs);
  const minuteMs = Math.floor(Number(NOW_NS / 1_000_000n) / 60_000) * 60_000;
  assert.deepEqual(endsAtMs(), [minuteMs + 5 * 60_000]);
  process.pipeline.reconfigure(ruled(`${hoursFor(3)}, lifetime: 8h`));
  assert.deepEqual(endsAtMs(), [minuteMs + 3 * 60_000]);
  process.pipeline.reconfigure(ruled("lifetime: 10s"));
  assert.equal([...process.grants.list()][0]!.endsSteadyMs, process.clock.steadyMs + 10_000);
  process.pipeline.reconfigure(ruled(hoursFor(-2)));
  assert.deepEqual(endsAtMs(), []);
});

const SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const codeAt = await loadCodes();

/** Alice with an authenticator app. */
function withApp(rules = ""): ServerConfig {
  return { ...ruled(`totp: ${SECRET}${rules}`), codeAt };
}

/** A knock by alice with the code of now, or so many steps later, or another one. */
function coded(
  n: number,
  { wallNs }: MovedClock,
  {
    at = "198.51.100.20",
    step = 0,
    code = codeAt(SECRET, Number(wallNs / 30_000_000_000n) + step),
  } = {} as { at?: string; step?: number; code?: number },
) {
  const randomNonce = filled(n, 16);
  new DataView(randomNonce.buffer).setUint32(OFFSET_CODE, code);
  return knockBy(ALICE, { timestampNs: wallNs + BigInt(n) + 1n, randomNonce, target: address(at) });
}

Deno.test("a code opens once for one command, also after the process was killed", async () => {
  await using folder = await Folder.create();
  const clock = new MovedClock();
  const config = withApp(", lifetime: 20s");
  await using first = new Process(folder.path, { config, clock });
  const one = await coded(1, clock);
  assert.equal(first.take(one), "granted");
  const endMs = clock.steadyMs + 20_000;
  clock.pass(3000);
  assert.equal(first.take(await coded(2, clock)), "granted", "--wait knocks again");
  assert.equal(first.take(await coded(3, clock, { at: "2001:db8::1" })), "granted", "over IPv6");
  assert.deepEqual([...first.grants.list()].map((each) => each.endsSteadyMs), [endMs, endMs]);
  const elsewhere = await coded(4, clock, { at: "198.51.100.21" });
  assert.equal(first.take(elsewhere), "code_used");
  await using second = await killed(folder, { config, clock });
  for (const process of [first, second]) {
    assert.equal(process.take(one), "replay");
    assert.equal(process.take(elsewhere), "replay");
    assert.equal(process.take(await coded(5, clock, { at: "198.51.100.21" })), "code_used");
    assert.equal(process.grants.size, 2);
  }
  assert.equal(second.take(await knock(6, undefined, clock)), "code_missing");
  assert.equal(second.take(await coded(7, clock, { step: 1 })), "granted", "the next code");
  assert.equal([...second.grants.list()][0]!.endsSteadyMs, clock.steadyMs + 20_000);
  // Taken out of the entry: nothing is asked for. Another secret holds at once.
  second.pipeline.reconfigure(ruled("lifetime: 20s"));
  assert.equal(second.take(await knock(8, undefined, clock)), "granted");
  second.pipeline.reconfigure({ ...ruled(`totp: ${SECRET.replace("G", "H")}`), codeAt });
  assert.equal(second.take(await coded(9, clock, { step: 1 })), "code_wrong");
});

Deno.test("too many wrong codes lock, also after the process was killed; a copy of one counts for none", async () => {
  await using folder = await Folder.create();
  const clock = new MovedClock();
  await using first = new Process(folder.path, { config: withApp(), clock });
  for (let n = 1; n <= 4; n++) {
    const wrong = await coded(n, clock, { code: n });
    assert.equal(first.take(wrong), "code_wrong");
    for (let copy = 0; copy < 3; copy++) assert.equal(first.take(wrong), "replay");
  }
  await using locking = await killed(folder, { config: withApp(), clock });
  for (const process of [first, locking]) {
    assert.equal(process.take(await coded(5, clock, { code: 5 })), "code_wrong");
    assert.equal(process.take(await coded(6, clock)), "code_locked");
  }
  await using second = await killed(folder, { config: withApp(), clock });
  const right = await coded(7, clock);
  assert.equal(second.take(right), "code_locked");
  assert.equal(second.take(right), "replay");
  clock.pass(5 * 60_000);
  assert.equal(second.take(await coded(8, clock)), "granted");
});

Deno.test("a knock that waits for a second person has used its code, and opens for its whole time", async () => {
  await using folder = await Folder.create();
  const clock = new MovedClock();
  const config = { ...configOf(undefined, [], `, totp: ${SECRET}, needs: [bob]`), codeAt };
  await using process = new Process(folder.path, { config, clock });
  assert.equal(process.take(await coded(1, clock)), "needs");
  assert.equal(process.take(await coded(2, clock)), "needs", "--wait knocks again");
  assert.equal(process.take(await coded(3, clock, { at: "198.51.100.21" })), "code_used");
  clock.pass(55_000);
  const bobs = await knockBy(sender("bob", 0x0b), {
    timestampNs: clock.wallNs,
    randomNonce: filled(4, 16),
  });
  assert.equal(process.take(bobs), "granted");
  const ends = [...process.grants.list()].map(({ client, endsSteadyMs }) => [
    client,
    endsSteadyMs - clock.steadyMs,
  ]);
  assert.deepEqual(ends.sort(), [["alice", 30_000], ["bob", 30_000]]);
});

Deno.test("a knock that a rule has refused is no good later, nor after a restart", async () => {
  await using folder = await Folder.create();
  await using first = new Process(folder.path, { config: ruled("from: 192.0.2.0/24") });
  const refused = await knock(1);
  assert.equal(first.take(refused), "from");
  assert.equal(first.take(refused), "replay");
  first.pipeline.reconfigure(ruled("from: 0.0.0.0/0"));
  assert.equal(first.take(refused), "replay");
  await using second = await killed(folder);
  assert.equal(second.take(refused), "replay");
  assert.equal(second.take(await knock(2)), "granted");
});

Deno.test("a key with one use opens once; knocks within the use belong to it and do not lengthen it", async () => {
  await using folder = await Folder.create();
  const config = ruled("uses: 1, lifetime: 10s");
  const clock = new MovedClock();
  await using first = new Process(folder.path, { config, clock });
  assert.equal(first.take(await knock(1)), "granted");
  const endMs = clock.steadyMs + 10_000;
  clock.pass(4000);
  assert.equal(first.take(await knock(2, undefined, clock)), "granted", "again");
  assert.equal(first.take(await knock(3, "2001:db8::1", clock)), "granted", "another address");
  assert.deepEqual([...first.grants.list()].map((each) => each.endsSteadyMs), [endMs, endMs]);
  // Killed within the use, and after it.
  await using second = await killed(folder, { config, clock });
  assert.equal(second.take(await knock(4, undefined, clock)), "granted");
  assert.equal([...second.grants.list()][0]!.endsSteadyMs, endMs);
  clock.pass(6000);
  const refused = await knock(5, undefined, clock);
  for (const process of [first, second]) {
    process.pipeline.expire();
    assert.equal(process.take(refused), "uses");
    assert.equal(process.take(refused), "replay");
  }
  await using third = await killed(folder, { config: ruled("uses: 2"), clock });
  assert.equal(third.take(refused), "replay", "one more use is no use for it");
  assert.equal(third.take(await knock(6, undefined, clock)), "granted", "one more");
  third.pipeline.reconfigure(configOf());
  assert.equal(third.take(await knock(7, undefined, clock)), "granted", "without a rule");
  third.pipeline.reconfigure(config);
  await third.pipeline.withdraw(() => true, "");
  assert.equal(third.take(await knock(8, undefined, clock)), "uses");
});

/** Ports with the time that is left of them, ms; while used: in brackets. */
function leftOf({ grants, clock }: Process): string[] {
  const left = (ms: number) => Math.round(ms - clock.steadyMs);
  return [...grants.list()].map(({ endsSteadyMs, extended }) =>
    [left(endsSteadyMs), ...extended?.caps.map((cap) => `(${left(cap.endsSteadyMs)})`) ?? []].join(
      " ",
    )
  );
}

Deno.test("a grant that stays open while it is used ends with its cap, over a restart too, and never later", async () => {
  await using folder = await Folder.create();
  const clock = new MovedClock();
  const config = ruled("extend_while_used: 60s, lifetime: 10s");
  await using first = new Process(folder.path, { config, clock });
  assert.equal(first.take(await knock(1)), "granted");
  assert.deepEqual(leftOf(first), ["10000 (60000)"]);
  clock.pass(20_000);
  first.pipeline.expire();
  assert.equal(first.told("expired"), 0);
  assert.deepEqual(leftOf(first), ["-10000 (40000)"]);
  await using second = await killed(folder, { config, clock });
  assert.deepEqual(leftOf(second), ["-10000 (40000)"]);
  for (const server of [["knock_timeout: 24h"], ["replay_window: 2m"]]) {
    second.pipeline.reconfigure(
      configOf(undefined, server, ", extend_while_used: 24h, lifetime: 1h"),
    );
    assert.deepEqual(leftOf(second), ["-10000 (40000)"]);
  }
  // The wall clock is set back: the steady one goes on.
  clock.step(-3_600_000);
  clock.pass(39_999);
  second.pipeline.expire();
  assert.deepEqual(leftOf(second), ["-49999 (1)"]);
  clock.pass(1);
  second.pipeline.expire();
  assert.equal(second.told("expired"), 1);
  clock.step(3_600_000);
  await using third = await killed(folder, { config, clock });
  assert.deepEqual(leftOf(third), []);
});

Deno.test("a grant loses what it may stay open for with the rule, the hours, or the firewall", async () => {
  await using folder = await Folder.create();
  const clock = new MovedClock();
  await using process = new Process(folder.path, { config: ruled("extend_while_used: 8h"), clock });
  process.take(await knock(1));
  process.pipeline.reconfigure(ruled(`extend_while_used: 8h, ${hoursFor(3)}`));
  const minutesMs = 3 * 60_000 - Number(NOW_NS / 1_000_000n) % 60_000;
  assert.deepEqual(leftOf(process), [`30000 (${minutesMs})`]);
  process.pipeline.reconfigure(ruled("extend_while_used: 45s"));
  assert.deepEqual(leftOf(process), ["30000 (45000)"]);
  clock.pass(31_000);
  process.pipeline.reconfigure(ruled("extend_while_used: off"));
  assert.deepEqual(leftOf(process), []);
  process.take(await knock(2, undefined, clock));
  assert.deepEqual(leftOf(process), ["30000"]);
  process.pipeline.reconfigure(ruled("extend_while_used: 8h"));
  process.take(await knock(3, undefined, clock));
  assert.deepEqual(leftOf(process), ["30000 (28800000)"]);
  const other = { config: ruled("extend_while_used: 8h"), clock, canExtend: false };
  await using second = await killed(folder, other);
  assert.deepEqual(leftOf(second), ["30000"], "the firewall is another one now");
  second.take(await knock(4, undefined, clock));
  await second.pipeline.withdraw(() => false, "");
  assert.deepEqual(
    second.asked.at(-1)!.changes[0]!.openings.filter((each) => each.whileActive),
    [],
  );
});

Deno.test("the history has when traffic last kept a grant open, once its cap is over", async () => {
  await using folder = await Folder.create();
  const clock = new MovedClock();
  await using process = new Process(folder.path, {
    config: ruled("extend_while_used: 60s"),
    clock,
  });
  process.take(await knock(1));
  const [grant] = process.grants.list();
  const activeUntilMs = grant!.openedAtMs + 50_000;
  process.grants.put({ ...grant!, extended: { ...grant!.extended!, activeUntilMs } });
  clock.pass(60_000);
  process.pipeline.expire();
  await process.pipeline.withdraw(() => false, ""); // writes the history
  using database = new DatabaseSync(folder.file("state.db"), { readOnly: true });
  const rows = database.prepare("SELECT ended_at_ms AS atMs, ended_why AS why FROM history").all();
  assert.deepEqual(rows.map((row) => ({ ...row })), [{
    atMs: activeUntilMs,
    why: "no longer used",
  }]);
});

Deno.test("a use of a key is over with what its knock opens, and later knocks within it do not move the cap", async () => {
  await using folder = await Folder.create();
  const clock = new MovedClock();
  const config = ruled("uses: 1, lifetime: 10s, extend_while_used: 60s");
  await using process = new Process(folder.path, { config, clock });
  process.take(await knock(1));
  clock.pass(9000);
  assert.equal(process.take(await knock(2, undefined, clock)), "granted");
  assert.equal(process.take(await knock(3, "2001:db8::1", clock)), "granted");
  assert.deepEqual(leftOf(process), ["1000 (51000)", "1000 (51000)"]);
  clock.pass(1000);
  assert.equal(process.take(await knock(4, undefined, clock)), "uses");
  assert.deepEqual(leftOf(process), ["0 (50000)", "0 (50000)"]);
});

const TWO = () => configOf(undefined, ["replay_window: 10m"], ", needs: [bob]");

/** A knock by bob of now, whose key is not among those of other tests. */
function bobsKnock(n: number, { wallNs }: { wallNs: bigint }) {
  return knockBy(sender("bob", 0x0b), {
    timestampNs: wallNs + BigInt(n) + 1n,
    randomNonce: filled(n, 16),
    target: address("192.0.2.66"),
  });
}

for (const [seconds, isTogether] of [[0, true], [59, true], [60, true], [61, false]] as const) {
  Deno.test(`two people ${seconds} s apart, in either order: ${isTogether ? "both" : "one"}`, async () => {
    await using folder = await Folder.create();
    const clock = new MovedClock();
    for (const name of ["one", "other"]) await Deno.mkdir(folder.file(name));
    await using one = new Process(folder.file("one"), { config: TWO(), clock });
    await using other = new Process(folder.file("other"), { config: TWO(), clock });
    const holders = (process: Process) =>
      [...process.grants.list()].filter(({ endsSteadyMs }) => endsSteadyMs > clock.steadyMs)
        .map(({ client, endsSteadyMs }) => [client, endsSteadyMs - clock.steadyMs]);
    const alices = await knock(1, undefined, clock);
    assert.equal(one.take(alices), "needs");
    assert.equal(one.take(alices), "replay");
    assert.equal(other.take(await bobsKnock(2, clock)), "granted", "bob's own ports, as usual");
    clock.pass(seconds * 1000);
    assert.equal(one.take(await bobsKnock(3, clock)), "granted");
    const together = [["alice", 30_000], ["bob", 30_000]];
    assert.deepEqual(holders(one).sort(), isTogether ? together : [["bob", 30_000]]);
    const later = await knock(4, undefined, clock);
    assert.equal(other.take(later), isTogether ? "granted" : "needs");
    assert.equal(one.take(alices), "replay");
  });
}

Deno.test("each of two may need the other: the second knock opens for both", async () => {
  await using folder = await Folder.create();
  const config = configOf(undefined, undefined, ", needs: [bob]", ", needs: [alice]");
  await using process = new Process(folder.path, { config });
  assert.equal(process.take(await knock(1)), "needs");
  assert.deepEqual([...process.grants.list()], []);
  assert.equal(process.take(await bobsKnock(2, process.clock)), "granted");
  const names = () => [...process.grants.list()].map(({ client }) => client).sort();
  assert.deepEqual(names(), ["alice", "bob"]);
});

Deno.test("a knock that waits is checked again, is bounded, and is lost at a restart", async () => {
  await using folder = await Folder.create();
  await using process = new Process(folder.path, { config: TWO() });
  for (let n = 1; n <= 20; n++) {
    process.take(await knock(n, `203.0.113.${n}`));
    process.take(await knock(n + 100, "203.0.113.20")); // the same address
  }
  assert.equal(process.grants.size, 0);
  await using restarted = await killed(folder, { config: TWO() });
  assert.equal(restarted.take(await bobsKnock(1, process.clock)), "granted");
  assert.equal(restarted.grants.size, 1, "nothing waited");
  assert.equal(restarted.take(await knock(20, "203.0.113.20")), "replay");
  // Alice's entry has another network in the meantime.
  await Deno.mkdir(folder.file("narrowed"));
  await using narrowed = new Process(folder.file("narrowed"), { config: TWO() });
  assert.equal(narrowed.take(await knock(1)), "needs");
  narrowed.pipeline.reconfigure(ruled("needs: [bob], from: 192.0.2.0/24"));
  assert.equal(narrowed.take(await bobsKnock(2, narrowed.clock)), "granted");
  assert.equal(narrowed.grants.size, 1);

  assert.equal(process.take(await bobsKnock(50, process.clock)), "granted");
  assert.equal(process.grants.size, 9, "bob, and the last eight of alice's addresses");
});

Deno.test("uses: a knock that waits is none until it opens", async () => {
  await using folder = await Folder.create();
  await using process = new Process(folder.path, { config: ruled("needs: [bob], uses: 1") });
  assert.equal(process.take(await knock(1)), "needs");
  assert.equal(process.take(await knock(2)), "needs");
  assert.equal(process.take(await bobsKnock(3, process.clock)), "granted");
  assert.equal(process.grants.size, 2);
  await process.pipeline.withdraw(() => true, "");
  assert.equal(process.take(await knock(4)), "uses");
});
