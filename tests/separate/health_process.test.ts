/** The health process: what it asks the keeper, when it begins to read, and that it needs no right to go on. */

import assert from "node:assert/strict";
import type { HealthSource } from "../../lib/health/listener.ts";
import { listenInProcess } from "../../lib/separate/health.ts";
import { runHealthProcess } from "../../lib/separate/health_process.ts";
import { channelOver } from "../../lib/separate/channel.ts";
import { processClock } from "../../lib/system/clock.ts";
import { channelPair } from "../support/channel_pair.ts";
import { ask, readToEnd } from "../support/hostile_clients.ts";
import "../support/loopback.ts";

const REQUEST = "GET / HTTP/1.1\r\n\r\n";

/** A source for which this machine holds a grant while `isOpen`. */
class Granting implements HealthSource {
  isOpen = true;
  asked = 0;
  readonly knows = () => {
    this.asked++;
    return Promise.resolve(this.isOpen);
  };
  readonly answerFor = async () =>
    await this.knows()
      ? {
        report: { address: "127.0.0.1", nowMs: Date.now(), grants: [] },
        host: undefined,
        lifetimeMs: 1,
      }
      : undefined;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

const connect = (port: number) => Deno.connect({ hostname: "127.0.0.1", port });

/** What a request is answered. */
async function request(port: number, text = REQUEST): Promise<string | undefined> {
  using connection = await connect(port);
  return await ask(connection, text);
}

const wildcards = ["127.0.0.1"];
const clock = processClock();

/** A process in this process; `giveUpRights` is the test's. */
function startHere(giveUpRights: () => void | Promise<void> = () => {}) {
  const { keeper, process, kill } = channelPair();
  const run = async () => {
    const messages = process.messages[Symbol.asyncIterator]();
    const { value } = await messages.next();
    await runHealthProcess(value, { messages, channel: process, giveUpRights });
    process.close();
  };
  const ended = run();
  return {
    ended,
    listen: listenInProcess({
      start: () => Promise.resolve({ channel: keeper, kill }),
      wildcards,
      clock,
    }),
  };
}

Deno.test("the health process answers while the keeper says so, and ends with the channel", async () => {
  const source = new Granting();
  const port = freePort();
  const { ended, listen } = startHere();
  const listening = await listen(port, source);
  const text = await request(port);
  assert.match(text!, /^HTTP\/1\.1 200 OK\r\n[^]*"address":"127\.0\.0\.1"/);
  using late = await connect(port);
  await late.write(new TextEncoder().encode(REQUEST.slice(0, -2)));
  while (source.asked < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  source.isOpen = false;
  assert.equal(await ask(late, "\r\n"), "", "the grant ended before the request did");
  using next = await connect(port);
  assert.equal(await readToEnd(next, 2000), "", "closed at once");
  listening.close();
  await ended;
  await assert.rejects(connect(port));
});

Deno.test("the health process reads nothing of a client before it has given up its rights", async () => {
  const source = new Granting();
  const port = freePort();
  const { promise, resolve } = Promise.withResolvers<void>();
  const { ended, listen } = startHere(() => promise);
  const listening = listen(port, source);
  let client: Deno.Conn | undefined;
  while (!client) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    client = await connect(port).catch(() => undefined);
  }
  const answered = ask(client, REQUEST);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(source.asked, 0);
  resolve();
  assert.match((await answered)!, /^HTTP\/1\.1 200 OK/);
  client.close();
  (await listening).close();
  await ended;
});

Deno.test("a health process that cannot bind the port, or keeps a right, says why and ends", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { ended, listen } = startHere();
  await assert.rejects(async () => await listen(taken.addr.port, new Granting()), /in use/i);
  await ended;
  const kept = startHere(() => {
    throw new Error("still root");
  });
  const port = freePort();
  await assert.rejects(async () => await kept.listen(port, new Granting()), /^Error: still root$/);
  await kept.ended;
});

/** Starts the process for real, without any permission of Deno's once the port is bound. */
function startApart() {
  const program = new URL("health_program.ts", import.meta.url);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", program.href],
    ...{ stdin: "piped", stdout: "piped" },
  }).spawn();
  const [reader, writer] = [child.stdout.getReader(), child.stdin.getWriter()];
  let rest = new Uint8Array(0);
  const ends = {
    read: async (buffer: Uint8Array) => {
      const { value } = rest.length > 0 ? { value: rest } : await reader.read();
      if (!value) return null;
      buffer.set(value.subarray(0, buffer.length));
      rest = value.slice(buffer.length);
      return Math.min(value.length, buffer.length);
    },
    write: async (bytes: Uint8Array) => {
      await writer.write(bytes);
      return bytes.length;
    },
    closeWrite: () => writer.close(),
    close: () => void writer.close().catch(() => {}),
  };
  const channel = channelOver(ends, { mostBytes: 1024 });
  return { channel, kill: () => child.kill("SIGKILL"), exited: child.status };
}

Deno.test("the health process listens, answers and ends without any permission", async () => {
  const source = new Granting();
  const port = freePort();
  const started = startApart();
  const start = () => Promise.resolve(started);
  const listening = await listenInProcess({ start, wildcards, clock })(port, source);
  assert.match((await request(port))!, /^HTTP\/1\.1 200 OK/);
  const page = await request(port, "GET / HTTP/1.1\r\nAccept: text/html\r\n\r\n");
  assert.match(page!, /<!DOCTYPE html>/);
  source.isOpen = false;
  assert.equal(await request(port), "");
  listening.close();
  await listening.ended;
  assert.equal((await started.exited).code, 0);
});
