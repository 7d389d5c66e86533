/** The metrics process and its keeper: what it can ask, and that it needs no right to go on. */

import assert from "node:assert/strict";
import { listenForMetrics } from "../../lib/separate/metrics.ts";
import { runMetricsProcess } from "../../lib/separate/metrics_process.ts";
import { channelPair } from "../support/channel_pair.ts";
import { ask } from "../support/hostile_clients.ts";
import { within } from "../support/wait.ts";
import "../support/loopback.ts";

function freeAddress() {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port } as const;
}

Deno.test("the metrics process answers with the keeper's text, and ends with the channel", async () => {
  const address = freeAddress();
  const { keeper, process, kill } = channelPair();
  let isReady = false;
  const run = async () => {
    const messages = process.messages[Symbol.asyncIterator]();
    const { value } = await messages.next();
    const giveUpRights = () => {};
    await runMetricsProcess(value, { messages, channel: process, giveUpRights });
    process.close();
  };
  const ended = run();
  const listening = await listenForMetrics({
    address,
    process: { channel: keeper, kill },
    render: () => Promise.resolve(isReady ? "openme_x 1\n" : undefined),
  });
  const request = async () => {
    using connection = await Deno.connect(address);
    return await ask(connection, "GET /metrics HTTP/1.1\r\n\r\n") ?? "";
  };
  assert.match(await request(), /^HTTP\/1\.1 503 /);
  isReady = true;
  assert.match(await request(), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nopenme_x 1\n$/);
  listening.close();
  await ended;
});

Deno.test("the keeper answers a metrics process with the text, and ends one that asks anything else", async () => {
  const address = freeAddress();
  const questions = [{ ask: 1, of: "grant", address: "::1" }, { of: "metrics" }, {}, null];
  for (const question of questions) {
    const { keeper, process, raw, kill } = channelPair();
    const render = () => Promise.resolve("openme_x 1\n");
    const opening = listenForMetrics({ address, process: { channel: keeper, kill }, render });
    const messages = process.messages[Symbol.asyncIterator]();
    assert.deepEqual((await messages.next()).value, { role: "metrics", address });
    process.send({ listening: true });
    const { ended } = await opening;
    process.send({ ask: 7, of: "metrics" });
    assert.deepEqual((await messages.next()).value, { answer: 7, value: "openme_x 1\n" });
    await raw.write(new TextEncoder().encode(`${JSON.stringify(question)}\n`));
    assert.equal(await within(ended!.then(() => true), 1000, false), true);
  }
});
