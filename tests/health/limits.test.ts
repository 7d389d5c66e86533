/** What clients can make the health listener hold: few connections, small heads, a short time. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { bindHealthPort, HEALTH_LIMITS, serveHealth } from "../../lib/health/listener.ts";
import type { HttpLimits } from "../../lib/system/http.ts";
import { keepHealthListener } from "../../lib/health/port.ts";
import type { Running } from "../../lib/server.ts";
import { serverYaml } from "../support/server_yaml.ts";
import "../support/loopback.ts";
import { waitFor } from "../support/wait.ts";
import { ask, closeAll, readToEnd, trickle } from "../support/hostile_clients.ts";
import { StillClock } from "../support/still_clock.ts";
import { memoryLog } from "../support/memory_log.ts";
import { grantOf } from "../support/knocks.ts";

const REQUEST = "GET / HTTP/1.1\r\n\r\n";

/** A listener with a grant for this machine; `connect` makes that many connections. */
async function withListener(
  limits: HttpLimits,
  body: (connect: (count: number) => Promise<Deno.Conn[]>) => Promise<void>,
): Promise<void> {
  const free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = free.addr;
  free.close();
  const config = parseServerConfig(serverYaml({ server: [`health_port: ${port}`] }), "x.yaml");
  const clock = new StillClock();
  const grant = grantOf("alice", "127.0.0.1", {
    ports: [{ protocol: "tcp", first: port, last: port }],
    endsSteadyMs: clock.now().steadyMs + 30_000,
  });
  const running = {
    config: () => config,
    grants: () => [grant],
    grantsAt: () => [grant],
    isRefused: () => false,
    knocksOf: () => [],
    onOpened: () => {},
  } as Partial<Running> as Running;
  const stop = new AbortController();
  const { log, events } = memoryLog();
  const wildcards = ["127.0.0.1"];
  keepHealthListener({
    ...{ running, clock, log, signal: stop.signal },
    listen: (port, source) => serveHealth(bindHealthPort(port, wildcards), source, limits),
  });
  const all: Deno.Conn[] = [];
  try {
    await body(async (count) => {
      const made = await Promise.all(
        Array.from({ length: count }, () => Deno.connect({ hostname: "127.0.0.1", port })),
      );
      all.push(...made);
      return made;
    });
    assert.deepEqual(events.filter(({ level }) => level !== "debug"), []);
  } finally {
    stop.abort();
    closeAll(all);
  }
}

/** So many connections stay open, one more is closed at once, and one that ends makes room. */
async function fillsUp(limits: HttpLimits, most: number): Promise<void> {
  await withListener(limits, async (connect) => {
    const held = await connect(most);
    // One that is answered shows that all before it have been taken.
    const [first, ...others] = held;
    const [tooMany] = await connect(1);
    const startMs = performance.now();
    assert.equal(await readToEnd(tooMany!, HEALTH_LIMITS.connectionMs - 2000), "");
    assert.ok(performance.now() - startMs < 2000, "not at its deadline");
    assert.equal(await ask(tooMany!, REQUEST), "");
    assert.match((await ask(first!, REQUEST))!, /^HTTP\/1\.1 200 OK\r\n/, "those that came first");
    await waitFor("room", async () => {
      const [next] = await connect(1);
      return /^HTTP\/1\.1 200 OK/.test((await ask(next!, REQUEST))!);
    });
    assert.match((await ask(others.at(-1)!, REQUEST))!, /^HTTP\/1\.1 200 OK\r\n/);
  });
}

Deno.test("the health listener's limits are those that are promised", () => {
  assert.deepEqual(HEALTH_LIMITS, {
    connections: 64,
    perAddress: 8,
    requestBytes: 8192,
    connectionMs: 5000,
  });
});

Deno.test("the health listener holds 8 connections of an address, and closes the next at once", () =>
  fillsUp(HEALTH_LIMITS, 8));

Deno.test("the health listener holds 64 connections in all, and closes the next at once", () =>
  fillsUp({ ...HEALTH_LIMITS, perAddress: 1000 }, 64));

Deno.test("the health listener closes a slow connection at the deadline, also one that keeps sending", async () => {
  await withListener({ ...HEALTH_LIMITS, connectionMs: 400 }, async (connect) => {
    const [slow, silent] = await connect(2);
    const [tookMs, said] = await Promise.all([
      trickle(slow!, 5000),
      readToEnd(silent!, 5000),
    ]);
    assert.ok(tookMs >= 300 && tookMs < 3000, `${tookMs} ms`);
    assert.equal(said, "");
  });
});

Deno.test("the health listener closes on a head that is too long, and takes one that is not", async () => {
  const head = (size: number) => `GET / HTTP/1.1\r\nX: ${"x".repeat(size)}`;
  await withListener(HEALTH_LIMITS, async (connect) => {
    const [long, right, endless] = await connect(3);
    assert.match((await ask(right!, `${head(8000)}\r\n\r\n`))!, /^HTTP\/1\.1 200 OK\r\n/);
    // Closed with the deadline still far away.
    assert.equal(await ask(long!, head(9000)), "");
    assert.equal(await ask(endless!, head(1_000_000)), "");
  });
});
