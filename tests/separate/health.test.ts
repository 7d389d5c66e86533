/** The keeper's side of the health process: what a process that was taken over can learn, and what it cannot do. */

import assert from "node:assert/strict";
import fc from "fast-check";
import type { HealthSource } from "../../lib/health/listener.ts";
import type { Listening } from "../../lib/system/http.ts";
import { listenInProcess } from "../../lib/separate/health.ts";
import { processClock } from "../../lib/system/clock.ts";
import { formatAddress } from "../../lib/values/address.ts";
import { channelPair } from "../support/channel_pair.ts";
import { VirtualTime } from "../support/virtual_time.ts";
import { within } from "../support/wait.ts";

const PORT = 54154;
const GRANTED = "198.51.100.20";
const ANSWER = {
  report: { address: GRANTED, nowMs: 1, grants: [] },
  host: "vps.example.org",
  lifetimeMs: 30_000,
};

/** Counts what it is asked; one address holds a grant. */
class CountingSource implements HealthSource {
  asked = 0;
  readonly knows: HealthSource["knows"] = (address) => {
    this.asked++;
    return Promise.resolve(formatAddress(address) === GRANTED);
  };
  readonly answerFor: HealthSource["answerFor"] = async (address) =>
    await this.knows(address) ? ANSWER : undefined;
}

/** A process that the test plays, once its first message was read. */
async function startFake(options?: { obeys: boolean }) {
  const { keeper, process, raw, kill } = channelPair(options);
  const source = new CountingSource();
  const listen = listenInProcess({
    start: () => Promise.resolve({ channel: keeper, kill }),
    wildcards: ["::"],
    clock: processClock(),
  });
  const listening = Promise.resolve(listen(PORT, source));
  listening.catch(() => {});
  const messages = process.messages[Symbol.asyncIterator]();
  const next = async () => (await messages.next()).value;
  assert.deepEqual(await next(), { role: "health", port: PORT, wildcards: ["::"] });
  const write = async (text: string) => void await raw.write(new TextEncoder().encode(text));
  return { source, process, next, write, listening };
}

/** The same, after it has said that it listens. */
async function startListening(options?: { obeys: boolean }) {
  const fake = await startFake(options);
  fake.process.send({ listening: true });
  return { ...fake, listening: await fake.listening };
}

function hasEnded({ ended }: Listening): Promise<boolean> {
  return within(ended!.then(() => true), 1000, false);
}

Deno.test("the health process is told of addresses that hold a grant, and nothing of any other", async () => {
  const { process, next, listening } = await startListening();
  const ask = async (of: string, address: string) => {
    process.send({ ask: 7, of, address });
    return await next();
  };
  assert.deepEqual(await ask("grant", GRANTED), { answer: 7, value: true });
  assert.deepEqual(await ask("report", GRANTED), { answer: 7, value: ANSWER });
  assert.deepEqual(await ask("report", `::ffff:${GRANTED}`), { answer: 7, value: ANSWER });
  assert.deepEqual(await ask("grant", "198.51.100.21"), { answer: 7, value: false });
  assert.deepEqual(await ask("report", "2001:db8::1"), { answer: 7, value: null });
  listening.close();
  assert.equal(await next(), undefined, "the process is told to end");
  assert.equal(await hasEnded(listening), true);
});

Deno.test("a health process that cannot listen, says something else or ends has failed, and is ended", async () => {
  const rows: [said: string, expected: RegExp][] = [
    ['{"failed":"address in use"}\n', /^Error: address in use$/],
    ['{"failed":1}\n', /^Error: the health process said "\{\\"failed\\":1\}"$/],
    ["\x1b[2J\n", /^Error: the health process said "what is no message"$/],
    ['"\x7f"\n', /^Error: the health process said "\\"\\u007f\\""$/],
    ["null\n", /^Error: the health process said "null"$/],
  ];
  for (const [said, expected] of rows) {
    const { write, next, listening } = await startFake();
    await write(said);
    await assert.rejects(listening, (error) => expected.test(String(error)) || assert.fail(said));
    assert.equal(await next(), undefined, "it is told to end");
  }
  const { process, listening } = await startFake();
  process.close();
  await assert.rejects(listening, /the health process ended/);
});

Deno.test("a health process that says nothing is ended after 10 s", async () => {
  using time = new VirtualTime();
  const { next, listening } = await startFake();
  let failed: unknown;
  listening.catch((error) => failed = error);
  await time.pass(9900);
  assert.equal(failed, undefined);
  await time.pass(200);
  assert.match(String(failed), /took too long to start/);
  assert.equal(await next(), undefined);
});

Deno.test("a health process that sends anything but a question is ended", async () => {
  const rows = [
    "junk\n",
    "null\n",
    '{"listening":true}\n',
    '{"ask":1,"of":"grant"}\n',
    '{"ask":1,"of":"grant","address":"198.51.100.20 "}\n',
    '{"ask":1,"of":"grant","address":["198.51.100.20"]}\n',
    '{"ask":1.5,"of":"grant","address":"198.51.100.20"}\n',
    '{"ask":"1","of":"grant","address":"198.51.100.20"}\n',
    '{"ask":1,"of":"grants","address":"198.51.100.20"}\n',
    `{"ask":1,"of":"grant","address":"198.51.100.20"}${" ".repeat(1024)}\n`,
    "x".repeat(2000), // a line that does not end
  ];
  for (const said of rows) {
    const { source, write, listening } = await startListening();
    await write(said);
    assert.equal(await hasEnded(listening), true, said);
    assert.equal(source.asked, 0, said);
  }
});

Deno.test("a health process that does not end when it is told to is killed a second later", async () => {
  using time = new VirtualTime();
  const { source, write, listening } = await startListening({ obeys: false });
  let isOver = false;
  listening.ended!.then(() => isOver = true);
  listening.close();
  await write('{"ask":1,"of":"grant","address":"198.51.100.20"}\n').catch(() => {});
  await time.pass(900);
  assert.equal(source.asked, 0, "it is told no more");
  await time.pass(200);
  assert.equal(isOver, true);
});

Deno.test("no message of a health process makes the keeper fail, or send anything but an answer", async () => {
  const question = fc.record({
    ask: fc.oneof(fc.integer(), fc.anything()),
    of: fc.oneof(fc.constantFrom("grant", "report"), fc.string()),
    address: fc.oneof(fc.constantFrom(GRANTED, "::1"), fc.ipV4(), fc.ipV6(), fc.string()),
  }, { requiredKeys: [] });
  const line = fc.oneof(
    { weight: 4, arbitrary: question.map((each) => JSON.stringify(each) ?? "") },
    fc.json(),
    fc.string({ unit: "binary" }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 20 }), async (lines) => {
      const { process, next, write, listening } = await startListening();
      await write(lines.map((each) => `${each}\n`).join(""));
      await write('"the end"\n');
      await listening.ended;
      for (let message = await next(); message !== undefined; message = await next()) {
        assert.deepEqual(Object.keys(message as object), ["answer", "value"]);
      }
      process.close();
    }),
    { numRuns: 200 },
  );
});

Deno.test("a health process that floods the keeper is read at 200 messages a second, after the first 400", async () => {
  using time = new VirtualTime();
  const { source, write, listening } = await startListening();
  const flood = '{"ask":1,"of":"grant","address":"198.51.100.20"}\n'.repeat(20_000);
  await write(flood);
  await time.settle();
  assert.equal(source.asked, 400);
  await time.pass(10_000);
  assert.ok(source.asked >= 2350 && source.asked <= 2400, `${source.asked} were answered`);
  listening.close();
  await time.pass(100);
  const answered = source.asked;
  await time.pass(10_000);
  assert.ok(source.asked <= answered + 1, "none after the end");
});
