/** When the health port is listened on: only while a grant opens it, and again some time after a failure. */

import assert from "node:assert/strict";
import { parseServerConfig, type ServerConfig } from "../../lib/config/server.ts";
import type { Grant } from "../../lib/grants.ts";
import type { HealthSource } from "../../lib/health/listener.ts";
import type { Listening } from "../../lib/system/http.ts";
import { keepHealthListener } from "../../lib/health/port.ts";
import type { Running } from "../../lib/server.ts";
import { processClock } from "../../lib/system/clock.ts";
import { sameAddress } from "../../lib/values/address.ts";
import { address, grantOf, must, SOURCE } from "../support/knocks.ts";
import { memoryLog } from "../support/memory_log.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { VirtualTime } from "../support/virtual_time.ts";

const PORT = 54154;

function configWith(healthPort: number): ServerConfig {
  return parseServerConfig(serverYaml({ server: [`health_port: ${healthPort}`] }), "x.yaml");
}

/** One call of `listen`: a test decides how it ends. */
class Attempt {
  readonly answered = Promise.withResolvers<Listening>();
  readonly ended = Promise.withResolvers<void>();
  isClosed = false;

  constructor(readonly port: number, readonly source: HealthSource) {}

  succeed(): void {
    const close = () => {
      this.isClosed = true;
    };
    this.answered.resolve({ close, ended: this.ended.promise });
  }
}

/** A health port on a server whose grants and time are the test's. */
class Kept implements Disposable {
  readonly time = new VirtualTime();
  readonly attempts: Attempt[] = [];
  readonly memory = memoryLog();
  readonly stop = new AbortController();
  config = configWith(PORT);
  grants: Grant[] = [];
  #opened = (_grant: Grant) => {};

  constructor() {
    const running = {
      config: () => this.config,
      grants: () => this.grants,
      grantsAt: (each) => this.grants.filter((grant) => sameAddress(grant.address.base, each)),
      isRefused: () => false,
      knocksOf: () => [],
      onOpened: (listener) => this.#opened = (grant) => listener({ grant } as never),
    } as Partial<Running> as Running;
    keepHealthListener({
      ...{ running, clock: processClock(), log: this.memory.log, signal: this.stop.signal },
      listen: (port, source) => {
        this.attempts.push(new Attempt(port, source));
        return this.last.answered.promise;
      },
    });
  }

  get last(): Attempt {
    return must(this.attempts.at(-1));
  }

  get warnings(): string[] {
    return this.memory.events.filter(({ level }) => level === "warn").map(({ event }) => event);
  }

  /** A grant of so many ms, for a port. */
  open(ms: number, port = PORT): void {
    const grant = grantOf("alice", "198.51.100.20", {
      ports: [{ protocol: "tcp", first: port, last: port }],
      endsSteadyMs: performance.now() + ms,
    });
    this.grants = [grant];
    this.#opened(grant);
  }

  [Symbol.dispose](): void {
    this.stop.abort();
    this.time[Symbol.dispose]();
  }
}

Deno.test("the health port is listened on from the first grant for it until the last has ended", async () => {
  using kept = new Kept();
  await kept.time.pass(5000);
  kept.open(30_000, 22);
  await kept.time.pass(5000);
  assert.equal(kept.attempts.length, 0);
  kept.open(30_000);
  assert.equal(kept.last.port, PORT);
  kept.last.succeed();
  await kept.time.pass(20_000);
  kept.open(30_000);
  await kept.time.pass(29_500);
  assert.deepEqual([kept.attempts.length, kept.last.isClosed], [1, false]);
  await kept.time.pass(1000);
  assert.equal(kept.last.isClosed, true);
  kept.open(30_000);
  assert.equal(kept.attempts.length, 2);
  assert.deepEqual(kept.warnings, []);
});

Deno.test("a health port that is ready when no grant is left, or the server stops, is closed at once", async () => {
  using kept = new Kept();
  kept.open(1000);
  await kept.time.pass(2000);
  kept.last.succeed();
  await kept.time.settle();
  assert.equal(kept.last.isClosed, true);
  kept.open(10_000);
  kept.stop.abort();
  kept.last.succeed();
  await kept.time.settle();
  assert.equal(kept.last.isClosed, true);
  kept.open(10_000);
  assert.equal(kept.attempts.length, 2);
  assert.deepEqual(kept.warnings, []);
});

Deno.test("a health port with another number is listened on at once, the former no longer", async () => {
  using kept = new Kept();
  kept.open(30_000);
  kept.last.succeed();
  await kept.time.settle();
  kept.config = configWith(PORT + 1);
  kept.open(30_000, PORT + 1);
  await kept.time.pass(500);
  assert.deepEqual(kept.attempts.map(({ port, isClosed }) => [port, isClosed]), [
    [PORT, true],
    [PORT + 1, false],
  ]);
});

Deno.test("a health port that cannot be listened on is tried again, less and less often, and logged once", async () => {
  using kept = new Kept();
  const times: number[] = [];
  const startMs = performance.now();
  kept.open(600_000);
  for (let i = 0; i < 8; i++) {
    times.push(performance.now() - startMs);
    kept.last.answered.reject(new Error("Address in use"));
    const before = kept.attempts.length;
    await kept.time.settle();
    kept.open(600_000); // a knock hurries nothing
    assert.equal(kept.attempts.length, before);
    while (kept.attempts.length === before) await kept.time.pass(500);
  }
  assert.deepEqual(times, [0, 500, 1500, 3500, 7500, 15_500, 23_500, 31_500]);
  assert.deepEqual(kept.warnings, ["health_unavailable"]);
});

Deno.test("a health process that ends is started again after a tick, with a log line a minute at most", async () => {
  using kept = new Kept();
  kept.open(1_000_000);
  for (const livesMs of [70_000, 70_000, 100, 100]) {
    kept.last.succeed();
    await kept.time.pass(livesMs);
    const before = kept.attempts.length;
    kept.last.ended.resolve();
    await kept.time.settle();
    assert.equal(kept.attempts.length, before);
    while (kept.attempts.length === before) await kept.time.pass(100);
  }
  assert.deepEqual(kept.warnings, ["health_unavailable", "health_unavailable"]);
});

Deno.test("an address is told of the grants that it holds for the health port now, any other of none", async () => {
  using kept = new Kept();
  kept.open(1000);
  const { source } = kept.last;
  assert.equal(await source.knows(SOURCE), true);
  const answer = must(await source.answerFor(SOURCE));
  assert.equal(answer.report.address, "198.51.100.20");
  assert.deepEqual(answer.report.grants.map(({ client }) => client), ["alice"]);
  assert.equal(answer.lifetimeMs, kept.config.knockTimeoutMs);
  const other = address("198.51.100.21");
  assert.deepEqual([await source.knows(other), await source.answerFor(other)], [false, undefined]);
  await kept.time.pass(1000);
  assert.deepEqual([await source.knows(SOURCE), await source.answerFor(SOURCE)], [
    false,
    undefined,
  ]);
});
