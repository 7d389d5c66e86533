import assert from "node:assert/strict";
import type { Channel } from "../../lib/separate/channel.ts";
import { beginTaker } from "../../lib/separate/knocks.ts";
import type { ServerConfig } from "../../lib/config/server.ts";
import type { KnockConfig } from "../../lib/receive/intake.ts";
import { processClock } from "../../lib/system/clock.ts";
import { channelPair } from "../support/channel_pair.ts";
import { filled } from "../support/knocks.ts";
import { memoryLog } from "../support/memory_log.ts";
import { VirtualTime } from "../support/virtual_time.ts";
import { pause, waitFor } from "../support/wait.ts";

const CONFIG: KnockConfig = {
  privateKey: filled(1),
  publicKey: filled(2),
  previousPrivateKey: undefined,
  replayWindowMs: 60_000,
  onlyStampedKnocks: false,
  keys: { byKey: new Map(), byHint: new Map() },
};
const PARTS = { port: 1, wildcards: ["::"], config: CONFIG, namespace: "net:[1]" };

/** A channel to a process that sends these messages, the last one until it is ended: it does not obey. */
function channelFrom(...messages: unknown[]) {
  let read = 0;
  let isOver = false;
  return {
    read: () => read,
    send: () => {},
    close: () => {},
    end: () => void (isOver = true),
    messages: (async function* () {
      while (!isOver) yield messages[Math.min(read++, messages.length - 1)];
    })(),
  } satisfies Channel & Record<string, unknown>;
}

Deno.test("a taker that floods the keeper is read at its pace, also once the server stops: nothing else waits", async () => {
  for (const junk of [undefined, { dropped: "size", source: "192.0.2.1" }]) {
    const channel = channelFrom({ bound: "net:[1]" }, junk);
    const sink = { signed: () => assert.fail(), dropped: () => {}, droppedMore: () => {} };
    const { log, events } = memoryLog();
    const knocks = (await beginTaker(channel, PARTS))(sink, { clock: processClock(), log });
    const stop = new AbortController();
    const listening = knocks.listen(stop.signal);
    await pause(100);
    knocks.stop();
    const before = channel.read();
    const startMs = performance.now();
    await pause(200);
    const tookMs = performance.now() - startMs;
    assert.ok(channel.read() - before < 20 * tookMs, `${channel.read() - before} in ${tookMs} ms`);
    stop.abort();
    await listening;
    await knocks.close();
    channel.end();
    await pause(50);
    assert.ok(events.length <= 1, "it is told once a minute");
  }
});

Deno.test("a configuration is in force once the taker says so of it, or of a later one", async () => {
  const sent: object[] = [];
  const answers: ((message: object) => void)[] = [];
  const messages = (async function* () {
    yield { bound: "net:[1]" };
    while (true) yield await new Promise<object>((resolve) => answers.push(resolve));
  })();
  const answer = (message: object) => answers.splice(0).forEach((resolve) => resolve(message));
  const channel = { messages, send: (message: object) => void sent.push(message), close: () => {} };
  const sink = { signed: () => {}, dropped: () => {}, droppedMore: () => {} };
  const parts = { clock: processClock(), log: memoryLog().log };
  const knocks = (await beginTaker(channel, PARTS))(sink, parts);
  knocks.listen(new AbortController().signal);
  const inForce: number[] = [];
  const reconfigure = (n: number) =>
    knocks.reconfigure(CONFIG as ServerConfig).then(() => inForce.push(n));
  for (const n of [1, 2, 3]) reconfigure(n);
  const numbers = sent.flatMap((each) => "number" in each ? [each.number as number] : []);
  assert.equal(new Set(numbers).size, 3);
  assert.deepEqual(inForce, []);
  for (const [number, now] of [[numbers[1], [1, 2]], [numbers[2], [1, 2, 3]]] as const) {
    await waitFor("the channel to be read", () => answers.length > 0);
    answer({ configured: number });
    await waitFor("it to be in force", () => inForce.length === now.length);
    assert.deepEqual(inForce, now);
  }
});

Deno.test("a taker that does not put a configuration in force within a minute has failed", async () => {
  using time = new VirtualTime();
  const { keeper, process } = channelPair({ obeys: false });
  process.send({ bound: PARTS.namespace });
  const sink = { signed: () => {}, dropped: () => {}, droppedMore: () => {} };
  const parts = { clock: processClock(), log: memoryLog().log };
  const knocks = (await beginTaker(keeper, PARTS))(sink, parts);
  let failure = "";
  const listening = knocks.listen(new AbortController().signal)
    .catch(({ message }) => failure = message);
  const reconfigure = () => knocks.reconfigure(CONFIG as ServerConfig);
  const configured = reconfigure();
  await time.pass(59_000);
  process.send({ configured: 1 });
  await configured;
  await time.pass(120_000);
  assert.equal(failure, "");

  reconfigure();
  await time.pass(30_000);
  reconfigure();
  await time.pass(29_999);
  assert.equal(failure, "");
  await time.pass(1);
  assert.equal(failure, "the process that takes knocks does not answer");
  await listening;
  const closing = knocks.close();
  await time.pass(1000);
  await closing;
  assert.equal(time.waiting, 0);
});

Deno.test("a process that cannot be a taker is told apart from a port that is taken", async () => {
  for (
    const [first, code] of [
      [{ failed: "another program has it", isPort: true }, "SOCKET"],
      [{ failed: "it cannot give up its rights", isPort: false }, "STATE"],
      [{ bound: "net:[2]" }, "STATE"],
      [{ signed: 1 }, "STATE"],
      [undefined, "STATE"],
    ] as const
  ) {
    await assert.rejects(beginTaker(channelFrom(first), PARTS), { code });
  }
});

Deno.test("a process that may not read the name of its network namespace may be a taker", async () => {
  await beginTaker(channelFrom({ bound: "" }), PARTS);
});
