import assert from "node:assert/strict";
import { channelOver, type Ends } from "../../lib/separate/channel.ts";

/** Ends whose other side has sent these pieces, and closed. */
function endsWith(...pieces: string[]): Ends & { readonly written: string[] } {
  const written: string[] = [];
  const waiting = pieces.map((each) => new TextEncoder().encode(each));
  return {
    written,
    read: (buffer) => {
      const next = waiting.shift();
      if (!next) return Promise.resolve(null);
      buffer.set(next);
      return Promise.resolve(next.length);
    },
    write: (bytes) => {
      written.push(new TextDecoder().decode(bytes));
      return Promise.resolve(bytes.length);
    },
    closeWrite: () => Promise.resolve(),
    close: () => {},
  };
}

async function messagesOf(...pieces: string[]): Promise<unknown[]> {
  const { messages } = channelOver(endsWith(...pieces), { mostBytes: 20 });
  return await Array.fromAsync(messages);
}

Deno.test("channelOver() gives each line as a message, however it was cut", async () => {
  assert.deepEqual(await messagesOf('{"a":1}\n{"b"', ":2}", "\n"), [{ a: 1 }, { b: 2 }]);
});

Deno.test("channelOver() gives undefined for what is no message or is too long, and goes on", async () => {
  const long = "x".repeat(50);
  assert.deepEqual(
    await messagesOf("junk\n", `${long}${long}`, `${long}\n`, `"${long}"\n`, "\n", "7\n"),
    [undefined, undefined, undefined, undefined, undefined, 7],
  );
});

Deno.test("channelOver() gives undefined for each piece of a line that is too long", async () => {
  const long = "x".repeat(30);
  assert.deepEqual(await messagesOf("1\n", long, long), [1, undefined, undefined]);
  assert.deepEqual(await messagesOf("1\n", long, `${long}\n2\n`), [1, undefined, undefined, 2]);
});

Deno.test("channelOver() leaves out what the other side has not ended", async () => {
  assert.deepEqual(await messagesOf("1\n2"), [1]);
});

Deno.test("send() drops what waits beyond its bound, and never throws", async () => {
  const ends = endsWith();
  let release = () => {};
  const held = new Promise<void>((resolve) => release = resolve);
  let writes = 0;
  const channel = channelOver(
    { ...ends, write: (bytes) => (writes++, held.then(() => bytes.length)) },
    { mostBytes: 20 },
  );
  const text = "x".repeat(1024 * 1024);
  for (let i = 0; i < 20; i++) channel.send({ text });
  release();
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.ok(writes >= 3 && writes <= 4, `${writes} messages were written`);
  channel.close();
  channel.send({ text });
});

Deno.test("send() keeps the newest of the messages that replace one another, however much waits", async () => {
  const ends = endsWith();
  let release = () => {};
  const held = new Promise<void>((resolve) => release = resolve);
  const write = (bytes: Uint8Array) => held.then(() => ends.write(bytes));
  const channel = channelOver({ ...ends, write }, { mostBytes: 20 });
  channel.send({ first: 1 });
  channel.send({ text: "x".repeat(5 * 1024 * 1024) });
  for (let n = 0; n < 5; n++) channel.send({ config: n }, "config");
  channel.send({ text: "x".repeat(5 * 1024 * 1024) }); // too much
  release();
  await new Promise((resolve) => setTimeout(resolve, 0));
  const shown = ends.written.map((each) => each.length > 100 ? "long" : each);
  assert.deepEqual(shown, ['{"first":1}\n', "long", '{"config":4}\n']);
});
